"""The command line: `sluice serve`, `sluice keys`, `sluice models`, `sluice doctor`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from app.config import Config
from app.load_config import load_config
from app.settings import ConfigError
from app.store.client import StoreUnavailable
from app.store.valkey import EmbeddedValkeyError, StateFolderInUse
from app.version import VERSION

USAGE: Final = """usage: sluice COMMAND [options]

  serve                 run the server (sluice serve --help lists every setting)
  keys create [NAME]    make a key and show it once (--role admin|developer|read-only, --tenant TENANT)
  keys list             every key: id, role, state, day it was made, tenant, name (--json)
  keys revoke ID        refuse a key from now on
  models list           models in the cache and in the running server (--json)
  models pull|load|unload   bring one into the cache, into the running server, out of it
  doctor                what a start would do here, and what stands in its way (--json)

  --version             which release this is
  --help                this; after a command, that command's options and their defaults
"""


INTERRUPTED: Final = 130  # as shells have it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. The exit code is 2 for a fault in what was asked for, 1 for one of the surroundings."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    command = argv.pop(0) if argv else "help"
    if command == "help" and argv:
        command, argv = argv[0], [*argv[1:], "--help"]
    if command in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    if command in ("-V", "--version"):
        print(f"sluice {VERSION}")
        return 0
    if command not in ("serve", "keys", "models", "doctor"):
        print(f"sluice: there is no command {command!r}\n\n{USAGE}", file=sys.stderr, end="")
        return 2
    code = 1
    try:  # tasks of a group that fails to start raise a group of their faults
        code = _run(command, argv)
    except* ConfigError as faults:
        code = 2
        _say(faults)
    except* (StoreUnavailable, EmbeddedValkeyError, StateFolderInUse, OSError) as faults:
        _say(faults)
    except* KeyboardInterrupt:
        code = INTERRUPTED
        print("sluice: interrupted", file=sys.stderr)
    return code


def _run(command: str, argv: list[str]) -> int:
    if command == "keys":
        from app.keys_command import keys_command

        return keys_command(argv, _config(command, "--role", "--tenant", "--json"))
    if command == "models":
        from app.models_command import models_command

        return models_command(argv, _config(command, "--json"))
    if command == "doctor":
        from app.doctor_command import doctor_command

        return doctor_command(argv, _config(command, "--json"))
    from app.serve_command import serve_command

    return serve_command(argv, _config(command))


def _config(command: str, *own: str) -> Callable[[Sequence[str]], Config]:
    return lambda argv: load_config(argv, os.environ, Path.cwd(), command, own)


def _say(faults: BaseExceptionGroup[Exception]) -> None:
    for fault in faults.exceptions:
        if isinstance(fault, BaseExceptionGroup):
            _say(fault)
        else:
            print(f"sluice: {fault}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
