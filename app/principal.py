"""Who is calling, and what they may do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from protocol.codes import ProtocolError

SCOPES: Final = frozenset(
    {
        "responses:write",
        "responses:read",
        "models:read",
        "moderations:write",
        "usage:read",
        "keys:write",
        "data:delete",
        "admin",
    }
)
ROLES: Final[dict[str, frozenset[str]]] = {
    "admin": SCOPES,
    "developer": SCOPES - {"keys:write", "admin"},
    "read-only": frozenset({"responses:read", "models:read", "usage:read"}),
}
# What a page in a browser needs; a key that anyone can read out of the page must not do more.
EPHEMERAL_SCOPES: Final = frozenset({"responses:write", "responses:read", "models:read", "moderations:write"})
# What `sluice models` needs of a running server; no turns, so nothing of a tenant's.
OPERATOR_SCOPES: Final = frozenset({"models:read", "admin"})

_TENANT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")  # no brace or colon: a tenant cannot name another's keys


def check_tenant(tenant: str) -> None:
    """Raises ValueError for a name that cannot be part of a store's key."""
    if not _TENANT.fullmatch(tenant):
        raise ValueError(f"{tenant!r} is not a tenant's name, 1-64 letters, digits, _ and -")


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a key that was verified."""

    key_id: str  # of an ephemeral key: the key that made it
    tenant: str
    scopes: frozenset[str]
    ephemeral: bool = False
    expires_at: int | None = None  # unix seconds

    def require(self, scope: str) -> None:
        """Raises ProtocolError `insufficient_scope`."""
        if scope not in self.scopes:
            raise ProtocolError("insufficient_scope", f"This needs the scope {scope}, which the key lacks.")
