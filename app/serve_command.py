"""`sluice serve`: from the settings to a server that listens, and what it says when it does."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import sys
from collections.abc import Callable, Sequence

import uvloop

from app.binding import address_here, binding_faults, is_every_address
from app.config import Config
from app.load_config import help_text
from app.main import create_app, running
from app.running_server import RunningServer, announce, withdraw
from app.server import bind, make_server, serve
from app.service import Service
from app.settings import ConfigError


def serve_command(argv: Sequence[str], load: Callable[[Sequence[str]], Config]) -> int:
    """Serve until a signal. Raises ConfigError, StoreUnavailable, EmbeddedValkeyError, OSError."""
    if "-h" in argv or "--help" in argv:
        print(
            f"usage: sluice serve [SETTING VALUE ...]\n\nRun the server until Ctrl-C or SIGTERM.\n\n{help_text()}"
        )
        return 0
    config = load(argv)
    logging.basicConfig(
        level=config.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    _raise_file_limit()
    with bind(config) as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, listener))
    return 0


def _raise_file_limit() -> None:
    """Every socket is a file; the usual soft limit of 1,024 is for programs with select()."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(config: Config, listener: socket.socket) -> None:
    async with running(config) as (service, first_key):
        faults = binding_faults(config, await service.auth.has_keys())
        if faults.refusal is not None:
            raise ConfigError(faults.refusal)
        for warning in faults.warnings:
            print(f"sluice: warning: {warning}", file=sys.stderr)
        server = make_server(config, create_app(service))
        try:
            await serve(server, service, listener, lambda port: _announce(config, service, port, first_key))
        finally:
            withdraw(config.state_dir, service.operator_key)


async def _announce(config: Config, service: Service, port: int, first_key: str | None) -> None:
    """Where it answers, and a key to open the playground with: the first start's own, later a short-lived one."""
    address = address_here(config, port)
    certificate = str(config.ssl_certfile) if config.ssl_certfile else None
    announce(config.state_dir, RunningServer(address, service.operator_key, certificate))
    served = ", ".join(model.id for model in service.hub.models.ready)
    print(f"Sluice serves {served} at {address}/v1", flush=True)
    if is_every_address(config.host):
        print(
            f"It listens on {config.host}, every address of this machine: elsewhere put the machine's name or address "
            "into that.",
            flush=True,
        )
    if first_key is not None:
        program = sys.argv[0] if sys.argv[0].endswith("sluice") else "sluice"
        print(f"Key (shown this once; `{program} keys create` makes more): {first_key}", flush=True)
    key = first_key or await service.auth.playground_key()
    print(f"Playground: {address}/" + (f"#key={key}" if key is not None else ""), flush=True)
