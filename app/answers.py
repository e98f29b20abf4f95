"""HTTP answers and bodies: JSON in our own encoding, faults in the wire's shape, bodies read within their limit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response as HttpResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.ids import new_id
from app.workers import Workers
from protocol.codec import decode_object, encode, error_answer, error_headers
from protocol.codes import ProtocolError
from protocol.limits import Limits

BODY_WAIT_S: Final = 60.0
"""How long a body may take: 4 MiB at 560 kbit/s."""

_CALLED: Final = frozenset(["responses", "chat/completions", "completions", "models", "moderations"])
"""What SDKs put behind their base URL."""
T = TypeVar("T")

log = logging.getLogger("sluice.http")


def json_answer(value: Any, status: int = 200) -> HttpResponse:
    """A struct, plain data, or ready JSON bytes."""
    body = value if isinstance(value, bytes) else encode(value)
    return HttpResponse(body, status, media_type="application/json")


def fault_answer(error: ProtocolError, connection: HTTPConnection) -> HttpResponse:
    """The refusal of a request or a handshake."""
    request_id = connection.scope.get("request_id", "")
    headers = error_headers(error)
    if error.info.status == 401:
        headers["www-authenticate"] = "Bearer"
    return HttpResponse(
        error_answer(error, request_id), error.info.status, headers=headers, media_type="application/json"
    )


async def on_protocol_error(request: Request, error: Exception) -> HttpResponse:
    assert isinstance(error, ProtocolError)
    return fault_answer(error, request)


async def on_http_exception(request: Request, error: Exception) -> HttpResponse:
    """Starlette's own refusals (no such route, wrong method) in our shape."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        fault = ProtocolError(
            "method_not_allowed", f"{request.method} is not for {request.url.path}; use {allowed}."
        )
    else:
        fault = ProtocolError("not_found", _nothing_at(request.url.path))
    answer = fault_answer(fault, request)
    answer.headers.update(error.headers or {})
    return answer


def _nothing_at(path: str) -> str:
    """With the way out for the one slip that every SDK allows: a base URL without its version, or with two."""
    called = path.removeprefix("/v1").strip("/")
    if called in _CALLED and path != f"/v1/{called}":
        return f"There is nothing at {path}, but /v1/{called} is there: end the client's base URL with /v1."
    return f"There is nothing at {path}. See /openapi.json."


async def on_bug(request: Request, error: Exception) -> HttpResponse:
    """Starlette calls this outside of every middleware, so the id is put on here."""
    answer = fault_answer(ProtocolError("internal_error", "The server failed. Try again."), request)
    answer.headers["x-request-id"] = request.scope.get("request_id", "")
    return answer


async def read_json(
    request: Request, tenant: str, limits: Limits, workers: Workers, parse: Callable[[dict[str, Any]], T]
) -> T:
    """The request's JSON object as `parse` reads it. Raises ProtocolError: too large, not JSON, refused by `parse`."""
    body = await read_body(request, limits.max_body_bytes)

    def read() -> T:
        return parse(
            decode_object(body, max_nesting=limits.max_nesting, max_containers=limits.max_containers)
        )

    return await workers.read(tenant, len(body), read)


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body, refused as soon as it is known to be too long."""
    refusal = ProtocolError("request_too_large", f"A body may have {max_bytes} bytes.")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise refusal
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_WAIT_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    raise refusal
                chunks.append(chunk)
    except ClientDisconnect as error:
        raise ProtocolError("request_timeout", "The client left before its body was whole.") from error
    except TimeoutError as error:
        raise ProtocolError(
            "request_timeout", f"The body did not arrive within {BODY_WAIT_S:g} seconds. Send it again."
        ) from error
    return b"".join(chunks)


class RequestIds:
    """Gives every request an id, echoed as `x-request-id`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = scope["request_id"] = new_id("req")

        async def send_with_id(message: Message) -> None:
            if message["type"] in (
                "http.response.start",
                "websocket.accept",
                "websocket.http.response.start",
            ):
                message.setdefault("headers", [])
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        await self._app(scope, receive, send_with_id)
