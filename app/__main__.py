"""The command line: `sluice serve` and `sluice keys`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from app.config import Config, binding_faults, help_text, load_config
from app.settings import ConfigError

if TYPE_CHECKING:
    from app.service import Service

USAGE = """usage: sluice COMMAND [options]

  serve                 run the server (sluice serve --help lists every setting)
  keys create [NAME]    make a key and show it once (--role admin|developer|read-only)
  keys list             every key: id, role, name, state
  keys revoke ID        refuse a key from now on
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 2 for a fault in what was asked for."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    command = argv.pop(0) if argv else "--help"
    try:
        match command:
            case "serve":
                return _serve(argv)
            case "keys":
                from app.keys_command import keys_command

                return keys_command(argv, _config)
            case "-h" | "--help" | "help":
                print(USAGE, end="")
                return 0
            case _:
                print(f"sluice: there is no command {command!r}\n\n{USAGE}", file=sys.stderr, end="")
                return 2
    except (ConfigError, OSError) as error:
        print(f"sluice: {error}", file=sys.stderr)
        return 2


def _config(argv: Sequence[str]) -> Config:
    return load_config(argv, os.environ, Path.cwd())


def _serve(argv: list[str]) -> int:
    if "-h" in argv or "--help" in argv:
        print(help_text())
        return 0
    config = _config(argv)
    logging.basicConfig(
        level=config.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    return run(serve(config))


def run(work: Coroutine[Any, Any, int]) -> int:
    """Run on uvloop to the end."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def serve(config: Config) -> int:
    from app.main import create_app, running
    from app.server import make_server
    from app.server import serve as serve_until_signal

    async with running(config) as (service, first_key):
        faults = binding_faults(config, await service.auth.has_keys())
        if faults.refusal is not None:
            raise ConfigError(faults.refusal)
        for warning in faults.warnings:
            print(f"sluice: warning: {warning}", file=sys.stderr)
        server = make_server(config, create_app(service))
        await serve_until_signal(server, service, lambda port: _announce(config, service, port, first_key))
    return 0


async def _announce(config: Config, service: Service, port: int, first_key: str | None) -> None:
    """Where it answers, and a key to open the playground with: the first start's own, later a short-lived one."""
    scheme = "https" if config.tls else "http"
    host = f"[{config.host}]" if ":" in config.host else config.host
    address = f"{scheme}://{host}:{port}"
    print(f"Sluice serves {service.hub.engine.model.id} at {address}/v1", flush=True)
    key = first_key or config.bootstrap_key
    if first_key is not None:
        print(f"Key (shown this once; `sluice keys create` makes more): {first_key}", flush=True)
    if key is None:
        key = await service.auth.playground_key()
    print(f"Playground: {address}/" + (f"#key={key}" if key is not None else ""), flush=True)


if __name__ == "__main__":
    sys.exit(main())
