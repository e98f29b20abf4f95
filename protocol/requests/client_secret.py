"""`POST /v1/realtime/client_secrets`: a short-lived key for a browser."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from protocol.requests.fields import Fields

_DEFAULT_LIFE_S: Final = 600  # as the standard has it, like the two below
_MIN_LIFE_S: Final = 10
_MAX_LIFE_S: Final = 7200


class ClientSecretRequest(Struct, frozen=True, kw_only=True):
    """A key that opens connections for `life_s` seconds from now."""

    life_s: int = _DEFAULT_LIFE_S


def parse_client_secret(body: dict[str, Any]) -> ClientSecretRequest:
    """Check the body. Raises ProtocolError, `param` naming the field.

    A `session` may be given as SDKs send it, but none of its settings: a key that was meant to be bound to
    them must not be made without.
    """
    fields = Fields(body)
    life_s: int | None = None
    expiry = fields.inner("expires_after")
    if expiry is not None:
        expiry.choice("anchor", "created_at")
        life_s = expiry.integer("seconds", _MIN_LIFE_S, _MAX_LIFE_S)
        expiry.finish()
    session = fields.inner("session")
    if session is not None:
        session.choice("type", "realtime")
        session.finish()
    fields.finish()
    return ClientSecretRequest(life_s=_DEFAULT_LIFE_S if life_s is None else life_s)
