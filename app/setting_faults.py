"""What is wrong with the text of a setting, said so that it follows the text; None if nothing is (pure)."""

from __future__ import annotations

from engine.adapters.adapter import AdapterError, check_name


def engine_fault(value: str) -> str | None:
    if "://" in value:
        return "names an upstream server, which this version cannot use yet (only torch and scripted)"
    return None if value in ("torch", "scripted") else "is not one of torch, scripted"


def key_fault(value: str) -> str | None:
    # 24 printable characters: what a person can paste, and more than can be guessed
    fit = len(value) >= 24 and value.isascii() and value.isprintable() and value == value.strip()
    return None if fit else "is not 24 or more printable ASCII characters, without spaces around them"


def redis_fault(value: str) -> str | None:
    scheme = value.partition("://")[0]
    if scheme in ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster"):
        return None
    return "is not a redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// address"


def adapter_fault(value: str) -> str | None:
    named, _, folder = value.partition("=")
    if not folder:
        return f"holds {value!r}, which is neither NAME=FOLDER nor MODEL:NAME=FOLDER"
    try:
        check_name(named.rpartition(":")[2])
    except AdapterError as error:
        return f"holds an adapter that cannot be asked for ({error})"
    return None


def origin_fault(value: str) -> bool:
    """Whether it is no origin."""
    scheme, _, rest = value.partition("://")
    return scheme not in ("http", "https") or not rest or "/" in rest
