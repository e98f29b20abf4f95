"""`GET ws /v1/responses`: the handshake. A refusal is an HTTP answer, never an accept followed by a close."""

from __future__ import annotations

from dataclasses import replace

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from app.answers import fault_answer
from app.connection import Connection
from app.keys import EPHEMERAL_PREFIX
from app.principal import Principal
from app.service import KEY_PROTOCOL, Service, service_of
from protocol.codes import ProtocolError
from protocol.connection import ServerConnection

SUBPROTOCOLS = ("sluice.v1.json", "realtime")
"""Those we answer to, ours first; `realtime` is what the official SDK offers from a browser. Both mean plain JSON."""


async def socket(websocket: WebSocket) -> None:
    service = service_of(websocket)
    try:
        principal = await _admit(websocket, service)
    except ProtocolError as error:
        service.metrics.refused.labels(error.code).inc()
        await websocket.send_denial_response(fault_answer(error, websocket))
        return
    offered = websocket.scope["subprotocols"]
    await websocket.accept(next((name for name in SUBPROTOCOLS if name in offered), None))
    with service.metrics.connections.track_inprogress():
        protocol = ServerConnection(service.connection_limits, service.limits)
        await Connection(websocket, service.hub, protocol, principal).run()


async def _admit(websocket: WebSocket, service: Service) -> Principal:
    principal = await _authenticate(websocket, service)
    principal.require("responses:write")
    _check_origin(websocket, service)
    if service.hub.draining:
        raise ProtocolError("draining", "This server is shutting down. Connect again.", retry_after_s=1.0)
    if len(service.hub.connections) >= service.config.max_connections:
        raise ProtocolError(
            "slow_down",
            f"This server holds {service.config.max_connections} connections and takes no more for now.",
            retry_after_s=5.0,
        )
    # an ephemeral key is for the handshake; afterwards the key that made it counts
    return replace(principal, expires_at=None) if principal.ephemeral else principal


async def _authenticate(websocket: WebSocket, service: Service) -> Principal:
    """By header, or from a browser by a subprotocol that carries an ephemeral key."""
    carried = [
        name.removeprefix(KEY_PROTOCOL)
        for name in websocket.scope["subprotocols"]
        if name.startswith(KEY_PROTOCOL)
    ]
    if not carried or "authorization" in websocket.headers:
        return await service.authenticate(websocket, "responses:write")
    if not carried[0].startswith(EPHEMERAL_PREFIX):
        raise ProtocolError(
            "invalid_api_key",
            "Only a short-lived ek_ key may travel as a subprotocol. POST /v1/realtime/client_secrets makes one.",
        )
    return await service.auth.authenticate(carried[0])


def _check_origin(websocket: WebSocket, service: Service) -> None:
    """A page of another site must not use a visitor's network position. Clients without an Origin are no browsers."""
    origin = websocket.headers.get("origin")
    if origin is None:
        return
    allowed = service.config.cors_origins
    host = websocket.headers.get("host")
    ours = bool(host) and origin.partition("://")[2] == host  # an origin is a scheme and a host, no more
    if ours or "*" in allowed or origin in allowed:
        return
    raise ProtocolError(
        "origin_not_allowed",
        f"Pages of {origin} may not connect here. The server's operator can allow them (SLUICE_CORS_ORIGINS).",
    )


async def elsewhere(websocket: WebSocket) -> None:
    """No socket is served on any other path."""
    error = ProtocolError("not_found", f"There is no socket at {websocket.url.path}; /v1/responses has one.")
    await websocket.send_denial_response(fault_answer(error, websocket))


routes = [WebSocketRoute("/v1/responses", socket), WebSocketRoute("/{path:path}", elsewhere)]
