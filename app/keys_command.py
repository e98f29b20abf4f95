"""`sluice keys`: make, list and revoke keys, whether or not the server runs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from app.auth import DEFAULT_TENANT, Authenticator
from app.config import Config
from app.keys import load_pepper
from app.listed_keys import keys_json, keys_table
from app.listing import take_json_flag
from app.load_config import help_text
from app.principal import ROLES, check_tenant
from app.settings import ConfigError
from app.store.keys import FoundKey, KeyRecords
from app.store.opened import named_by, opened_store, store_begun

DEFAULT_NAME: Final = "unnamed"
DEFAULT_ROLE: Final = "developer"

USAGE: Final = """usage: sluice keys create [NAME] [--role ROLE] [--tenant TENANT]
       sluice keys list [--json]
       sluice keys revoke ID

Settings may follow, as for serve; --help after one of the three says which matter.
"""

FORMS: Final = {
    "create": f"""usage: sluice keys create [NAME] [--role ROLE] [--tenant TENANT] [SETTING VALUE ...]

Make a key and print it. It is shown this once: the store keeps a hash of it. A running server takes it at once.

  NAME
      what the list calls it, so that you know which to revoke (default: {DEFAULT_NAME})
  --role {"|".join(ROLES)}
      what it may do (default: {DEFAULT_ROLE})
      admin: everything; developer: responses, moderations, short-lived keys, deleting, figures;
      read-only: reading stored responses, models, figures and documents
  --tenant TENANT
      whose it is (default: {DEFAULT_TENANT}): tenants see nothing of each other, and take turns
""",
    "list": """usage: sluice keys list [--json] [SETTING VALUE ...]

Print a line for each key: its id, role, state (valid, revoked, expired), the day it was made, tenant, name.

  --json
      the same as one JSON array, with times in unix seconds
""",
    "revoke": """usage: sluice keys revoke ID [SETTING VALUE ...]

Refuse a key from now on, on every server of the store, within a second; running replies end as they would.

  ID
      the key's id, as `sluice keys list` shows it
""",
}
"""Each verb with its help."""

SETTINGS: Final = ("config", "state_dir", "redis_url", "key_pepper")
"""Those that say where keys are kept."""

Form: TypeAlias = Callable[[Sequence[FoundKey]], str]


def keys_command(argv: Sequence[str], load: Callable[[Sequence[str]], Config]) -> int:
    """Run one of the three. Settings may follow as flags. Raises ConfigError, StoreUnavailable, EmbeddedValkeyError."""
    words = list(argv)
    verb = words.pop(0) if words else "--help"
    if verb in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if verb in FORMS and ("-h" in words or "--help" in words):
        print(f"{FORMS[verb]}\n{help_text(*SETTINGS)}")
        return 0
    in_json = take_json_flag(words)
    role = _take_option(words, "--role")
    tenant = _take_option(words, "--tenant")
    if verb != "create" and (role is not None or tenant is not None):
        raise ConfigError("--role and --tenant are for `sluice keys create`; leave them out")
    role = DEFAULT_ROLE if role is None else role
    name = words.pop(0) if words and not words[0].startswith("-") else None
    if role not in ROLES:
        raise ConfigError(f"--role: {role!r} is not a role; the roles are {', '.join(ROLES)}")
    try:
        check_tenant(DEFAULT_TENANT if tenant is None else tenant)
    except ValueError as error:
        raise ConfigError(f"--tenant: {error}") from error
    if fault := _misused(verb, name):
        print(f"sluice keys: {fault}\n\n{USAGE}", file=sys.stderr, end="")
        return 2
    if in_json and verb != "list":
        raise ConfigError("--json is for `sluice keys list`; leave it out")
    form = keys_json if in_json else keys_table
    return asyncio.run(_run(load(words), verb, name, role, tenant or DEFAULT_TENANT, form))


def _misused(verb: str, name: str | None) -> str | None:
    if verb not in FORMS:
        return f"there is no command {verb!r}"
    if verb == "list" and name is not None:
        return f"list takes no {name!r}"
    if verb == "revoke" and name is None:
        return "revoke needs the key's id, which `sluice keys list` shows"
    return None


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


async def _run(config: Config, verb: str, name: str | None, role: str, tenant: str, form: Form) -> int:
    if verb != "create" and config.redis_url is None and not store_begun(config.state_dir):
        if verb == "list":
            _list((), config, form)
            return 0
        raise ConfigError(f"there are no keys in {config.state_dir}: name a server's folder with --state-dir")
    with named_by(config.redis_url):
        async with opened_store(config.redis_url, config.state_dir) as store:
            pepper = load_pepper(config.state_dir, config.key_pepper)
            auth = Authenticator(KeyRecords(store), pepper, bootstrap_key=config.bootstrap_key)
            return await _done(auth, config, verb, name, role, tenant, form)


async def _done(
    auth: Authenticator, config: Config, verb: str, name: str | None, role: str, tenant: str, form: Form
) -> int:
    match verb:
        case "create":
            key = await auth.create_key(name or DEFAULT_NAME, role=role, tenant=tenant)
            print(key.value)
            print(
                f"id {key.record.id}, name {key.record.name}, role {role}, tenant {tenant}, "
                f"for servers of {_place(config)}. "
                "It is shown this once.",
                file=sys.stderr,
            )
            return 0
        case "list":
            _list(await auth.list_keys(), config, form)
            return 0
        case _:
            assert name is not None
            if await auth.revoke_key(name):
                print(f"revoked {name}")
                return 0
            print(f"sluice keys: there is no key {name!r}; `sluice keys list` shows them", file=sys.stderr)
            return 1


def _place(config: Config) -> str:
    return "the store of SLUICE_REDIS_URL" if config.redis_url is not None else str(config.state_dir)


def _list(keys: Sequence[FoundKey], config: Config, form: Form) -> None:
    print(form(keys), end="")
    if not keys:
        _say_none(config)


def _say_none(config: Config) -> None:
    """Beside the output, which is of keys alone."""
    elsewhere = "" if config.redis_url is not None else "; --state-dir names another server's folder"
    print(
        f"There are no keys in {_place(config)} yet: `sluice keys create` makes one{elsewhere}.",
        file=sys.stderr,
    )
