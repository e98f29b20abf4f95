"""Keys as `sluice keys list` shows them, to people and to programs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from app.listing import as_json, as_table
from app.store.keys import FoundKey

COLUMNS: Final = ("id", "role", "state", "made", "tenant", "name")


def keys_table(keys: Sequence[FoundKey]) -> str:
    return f"{as_table(COLUMNS, map(_line, keys))}\n" if keys else ""


def _line(found: FoundKey) -> tuple[str, ...]:
    record = found.record
    made = time.strftime("%Y-%m-%d", time.gmtime(record.created_at))
    return record.id, record.role, _state(found), made, record.tenant, record.name


def keys_json(keys: Sequence[FoundKey]) -> str:
    return f"{as_json([_facts(found) for found in keys])}\n"


def _facts(found: FoundKey) -> dict[str, Any]:
    record = found.record
    return {
        "id": record.id,
        "role": record.role,
        "state": _state(found),
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "revoked_at": found.revoked_at,
        "tenant": record.tenant,
        "name": record.name,
    }


def _state(found: FoundKey) -> str:
    if found.revoked_at is not None:
        return "revoked"
    expires_at = found.record.expires_at
    return "expired" if expires_at is not None and expires_at <= time.time() else "valid"
