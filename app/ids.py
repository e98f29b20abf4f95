"""Identifiers: a prefix that says what it is, and 128 random bits that say nothing."""

from __future__ import annotations

import secrets


def new_id(prefix: str) -> str:
    """`resp_…`, `msg_…`, `req_…` and the like; unguessable."""
    return f"{prefix}_{secrets.token_hex(16)}"
