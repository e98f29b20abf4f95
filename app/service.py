"""What every route needs: the parts of the running server, and who is calling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

from starlette.requests import HTTPConnection, Request

from app.answers import read_json
from app.auth import Authenticator
from app.config import Config
from app.hub import Hub
from app.metrics import Metrics
from app.principal import Principal
from app.store.client import Store
from protocol.codes import ProtocolError
from protocol.limits import ConnectionLimits, Limits

T = TypeVar("T")

KEY_PROTOCOL: Final = "openai-insecure-api-key."


@dataclass(frozen=True, slots=True)
class Service:
    """The server's parts, met in `app.main`."""

    config: Config
    hub: Hub
    auth: Authenticator
    store: Store
    metrics: Metrics
    limits: Limits
    connection_limits: ConnectionLimits
    operator_key: str = field(repr=False)

    async def read(self, request: Request, tenant: str, parse: Callable[[dict[str, Any], Limits], T]) -> T:
        """The request's body as `parse` reads it, in the tenant's turn. Raises ProtocolError."""
        return await read_json(
            request, tenant, self.limits, self.hub.workers, lambda body: parse(body, self.limits)
        )

    async def authenticate(self, connection: HTTPConnection, scope: str) -> Principal:
        """Who calls, by `Authorization: Bearer KEY`, and whether they may. Raises ProtocolError 401, 403, 503."""
        kind, _, key = connection.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not key.strip():
            raise ProtocolError(
                "invalid_api_key",
                "No API key was sent. Send the header `Authorization: Bearer KEY`; `sluice keys create` makes one.",
            )
        principal = await self.auth.authenticate(key.strip())
        principal.require(scope)
        return principal


def service_of(connection: HTTPConnection) -> Service:
    return cast(Service, connection.app.state.service)
