"""Names for what goes wrong: a turn with one is counted under its name, never as a success."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from loadtest.turn import Turn
from protocol.client import ContractBroken

_BY_STATUS: Final = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    422: "request_refused",
    429: "too_many_requests",
    503: "overloaded",
}


class StreamCut(Exception):
    """The connection ended before the answer did."""


class NotHttp(Exception):
    """What answered does not speak HTTP, or not what was asked for."""


def name_error(turn: Turn, error: Exception) -> None:
    """Give the turn the fault that `error` is. Raises it again if it is none of a server's."""
    match error:
        case TimeoutError():
            turn.fail("timeout", f"{len(turn.delta_at)} pieces of text had come")
        case ConnectionRefusedError():
            turn.fail("refused", str(error))
        case InvalidStatus():
            turn.fail(*http_fault(error.response.status_code, bytes(error.response.body or b"")))
        case ContractBroken():
            turn.fail("contract_broken", str(error))
        case NotHttp() | InvalidHandshake():
            turn.fail("not_http", str(error))
        case StreamCut() | ConnectionClosed() | ConnectionResetError() | BrokenPipeError():
            turn.fail("stream_cut", str(error))
        case OSError():
            turn.fail("unreachable", str(error))
        case _:
            raise error


def http_fault(status: int, body: bytes) -> tuple[str, str]:
    """Name and detail of an answer that is no success: by status, or by the code in the body if it is a word."""
    error = _error_of(body)
    said = str(error.get("message") or body[:200].decode(errors="replace"))
    code = error.get("code")
    if status == 401:
        return "unauthorized", said
    if isinstance(code, str) and code.isidentifier():
        return code, said
    if status == 404 and "model" in said.lower():
        return "model_not_found", said
    return _BY_STATUS.get(status, f"http_{status}"), said


def _error_of(body: bytes) -> dict[str, Any]:
    """The error object of the API; others say `detail`."""
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    if not isinstance(answer, dict):
        return {}
    error = answer.get("error", answer)
    return error if isinstance(error, dict) else {"message": error}
