"""The answer to POST /v1/realtime/client_secrets: a short-lived key."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class SecretSession(Struct, frozen=True, kw_only=True):
    """What the SDKs expect beside the key; the key is bound to nothing but its owner and its time."""

    type: Literal["realtime"] = "realtime"
    object: Literal["realtime.session"] = "realtime.session"
    id: str
    expires_at: int


class ClientSecret(Struct, frozen=True, kw_only=True):
    """`value` is the key, shown this once; `expires_at` is in unix seconds."""

    value: str
    expires_at: int
    session: SecretSession
