"""What `sluice doctor` finds out of the address: whether a start could listen there, and who else does."""

from __future__ import annotations

import asyncio
import errno
import http.client
import ssl
from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import msgspec

from app.binding import address_here
from app.config import Config
from app.finding import Finding
from app.running_server import find_server
from app.server import bind
from app.settings import ConfigError
from engine.aside import within
from protocol.health import Readiness

_TIMEOUT_S: Final = 1.0  # a server on this machine answers in milliseconds
_SILENCE_S: Final = 0.5  # sooner than that: who is ended from outside may leave its socket open
_NO_SERVER: Final = (TimeoutError, OSError, http.client.HTTPException, msgspec.MsgspecError)
_MOST_BYTES: Final = 1024  # its answer has 70


async def address_asked_for(config: Config) -> Finding:
    where = f"{config.host}:{config.port}"
    try:
        bind(config).close()
    except ConfigError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
            return Finding(
                "service", "address", f"{where} is taken: {await asyncio.to_thread(_whose, config)}"
            )
        return Finding("service", "address", str(error), fault=True)
    return Finding("service", "address", f"{where} is free")


def server_there_is(config: Config) -> Iterator[Finding]:
    """The server that keeps its data in this state folder, wherever it listens."""
    there = find_server(config.state_dir)
    if there is None or there.address == address_here(config, config.port):
        return
    with suppress(*_NO_SERVER):
        within(_TIMEOUT_S, "probe", lambda: _readiness(there.address))
        yield Finding("service", "running", f"a server with this state folder, at {there.address}")


def _whose(config: Config) -> str:
    try:
        found = within(_TIMEOUT_S, "probe", lambda: _readiness(address_here(config, config.port)))
    except _NO_SERVER:
        return "by another program, or a server that does not answer; end it, or choose another with --port"
    ready = (
        ""
        if found.status == "ready"
        else f", and not ready (engine {found.engine}, store {found.store}, {found.hub})"
    )
    return f"a Sluice server is running there{ready}"


def _readiness(address: str) -> Readiness:
    """What the server there says of itself. Raises OSError, HTTPException, MsgspecError where it is none of ours."""
    parts = urlsplit(address)
    assert parts.hostname is not None
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=_SILENCE_S, context=_anybody()
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_SILENCE_S)
    try:
        connection.request("GET", "/readyz")
        with connection.getresponse() as answer:
            return msgspec.json.decode(answer.read(_MOST_BYTES), type=Readiness)
    finally:
        connection.close()


def _anybody() -> ssl.SSLContext:
    """Nothing is told to it, and its certificate may be for another name."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
