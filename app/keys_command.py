"""`sluice keys`: make, list and revoke keys, whether or not the server runs."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from app.auth import Authenticator
from app.config import Config
from app.keys import load_pepper
from app.principal import ROLES
from app.settings import ConfigError
from app.store.keys import FoundKey, KeyRecords
from app.store.opened import opened_store

USAGE: Final = "usage: sluice keys create [NAME] [--role ROLE] | list | revoke ID   (settings as for serve)"

FORMS: Final = {("create", False), ("create", True), ("list", False), ("revoke", True)}
"""Each verb, with or without a word after it."""


def keys_command(argv: Sequence[str], load: Callable[[Sequence[str]], Config]) -> int:
    """Run one of the three. Settings may follow as flags. Raises ConfigError, StoreUnavailable, EmbeddedValkeyError."""
    words = list(argv)
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    verb = words.pop(0)
    role = _take_option(words, "--role") or "developer"
    name = words.pop(0) if words and not words[0].startswith("-") else None
    if role not in ROLES:
        raise ConfigError(f"--role: {role!r} is not a role; the roles are {', '.join(ROLES)}")
    if (verb, name is not None) not in FORMS:
        print(USAGE, file=sys.stderr)
        return 2
    return asyncio.run(_run(load(words), verb, name, role))


def _take_option(words: list[str], option: str) -> str | None:
    for index, word in enumerate(words):
        if word == option and index + 1 < len(words):
            value = words[index + 1]
            del words[index : index + 2]
            return value
        if word.startswith(option + "="):
            del words[index]
            return word.partition("=")[2]
    return None


async def _run(config: Config, verb: str, name: str | None, role: str) -> int:
    async with opened_store(config.redis_url, config.state_dir) as store:
        pepper = load_pepper(config.state_dir, config.key_pepper)
        auth = Authenticator(KeyRecords(store), pepper, bootstrap_key=config.bootstrap_key)
        match verb:
            case "create":
                key = await auth.create_key(name or "unnamed", role=role)
                print(key.value)
                print(f"id {key.record.id}, role {role}. It is shown this once.", file=sys.stderr)
                return 0
            case "list":
                for found in await auth.list_keys():
                    print(_line(found))
                return 0
            case _:
                assert name is not None
                if await auth.revoke_key(name):
                    print(f"revoked {name}")
                    return 0
                print(
                    f"sluice keys: there is no key {name!r}; `sluice keys list` shows them", file=sys.stderr
                )
                return 1


def _line(found: FoundKey) -> str:
    record = found.record
    state = "valid"
    if found.revoked_at is not None:
        state = "revoked"
    elif record.expires_at is not None and record.expires_at <= time.time():
        state = "expired"
    made = time.strftime("%Y-%m-%d", time.gmtime(record.created_at))
    return f"{record.id}  {record.role:<9}  {state:<7}  {made}  {record.name}"
