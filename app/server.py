"""uvicorn with our protocols, and an end in order: drain first, then close, then stop.

uvicorn closes every socket as soon as it sees SIGTERM, so it must not see it: the signals are ours.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from app.config import Config
from app.service import Service
from app.settings import ConfigError
from app.transport import SluiceHttpProtocol, SluiceWebSocketProtocol
from protocol.codes import Close

log = logging.getLogger("sluice.server")

BACKLOG: Final = 4096
"""Connections that wait to be accepted: a thousand clients may come back at once."""

CANCEL_WAIT_S: Final = 3.0
"""How long cancelled responses may take to say so; the engine needs two steps."""
SHUTDOWN_WAIT_S: Final = 3
"""How long open connections may take to close."""


class Server(uvicorn.Server):
    """A server that is ended by `end` alone. `listening` is set once it accepts connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @property
    def port(self) -> int:
        """Where it listens; a free port was taken if 0 was asked for."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def make_server(config: Config, app: ASGIApp) -> Server:
    return Server(
        uvicorn.Config(
            app,
            http=partial(SluiceHttpProtocol, deadline_s=config.slow_client_deadline_s),  # type: ignore[arg-type]
            ws=SluiceWebSocketProtocol,
            ws_max_size=config.max_body_bytes,
            ws_per_message_deflate=False,  # 34 KiB more a connection and 4-9 µs a frame
            ws_ping_interval=config.ping_interval_s,
            ws_ping_timeout=config.ping_timeout_s,
            ssl_certfile=config.ssl_certfile,
            ssl_keyfile=config.ssl_keyfile,
            timeout_graceful_shutdown=SHUTDOWN_WAIT_S,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
        )
    )


def bind(config: Config) -> socket.socket:
    """The listening socket, taken before anything slow is done. Raises ConfigError where it cannot be had."""
    try:
        found = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
        # Connections inherit it. uvloop sets it by itself, asyncio not where the socket was made without a protocol:
        # there a turn's last event waited 40 ms for the acknowledgement of the one before.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {config.port} of {config.host} is taken: end what listens there, or choose another with --port"
            ) from error
        raise ConfigError(
            f"SLUICE_HOST, SLUICE_PORT: cannot listen on {config.host}:{config.port} ({error.strerror or error}); "
            "choose another"
        ) from error


async def serve(
    server: Server, service: Service, listener: socket.socket, announce: Callable[[int], Awaitable[None]]
) -> None:
    """Serve until a signal, then end: SIGTERM lets running responses finish, SIGINT does not.

    `announce` is told the port once connections are accepted.
    """
    loop = asyncio.get_running_loop()
    ending: list[asyncio.Task[None]] = []

    def on_signal(grace_s: float) -> None:
        if ending:  # asked again: hurry
            service.hub.cancel_all()
        else:
            ending.append(loop.create_task(end(server, service, grace_s)))

    loop.add_signal_handler(signal.SIGTERM, on_signal, service.config.drain_grace_s)
    loop.add_signal_handler(signal.SIGINT, on_signal, 0.0)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_announce(server, announce))
            await server.serve([listener])
            server.listening.set()
        for task in ending:
            await task
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)


async def _announce(server: Server, announce: Callable[[int], Awaitable[None]]) -> None:
    await server.listening.wait()
    if server.started:
        await announce(server.port)


async def end(server: Server, service: Service, grace_s: float) -> None:
    """Drain, close every socket with a code on which clients come back, stop."""
    log.info("ending grace_s=%g connections=%d", grace_s, len(service.hub.connections))
    await service.hub.drain(grace_s)
    service.hub.workers.close()  # what is still being read will not be answered
    try:
        async with asyncio.timeout(CANCEL_WAIT_S):
            await service.hub.wait_idle()
    except TimeoutError:
        log.error("responses did not end in time hub=%r", service.hub)
    for connection in list(service.hub.connections):
        connection.close(Close.SERVICE_RESTART, "the server is restarting")
    server.should_exit = True
