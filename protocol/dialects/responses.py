"""The Responses dialect: events as they are, framed as server-sent events, and the small answers."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from protocol.codec import encode, sse
from protocol.codes import ProtocolError
from protocol.events import SseError


class ResponseDeleted(Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class InputTokensCounted(Struct, frozen=True, kw_only=True):
    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int


def type_of(event_json: bytes) -> str:
    """The name of an encoded event: its tag is the first member."""
    return event_json[9 : event_json.index(b'"', 9)].decode("ascii")


def event_sse(event_json: bytes) -> bytes:
    """An encoded event as a server-sent event."""
    return sse(type_of(event_json), event_json)


def error_sse(error: ProtocolError, sequence_number: int) -> bytes:
    """An error that no response carries, such as a stream that cannot go on, as a server-sent event."""
    event = SseError(
        sequence_number=sequence_number, code=error.code, message=error.message, param=error.param
    )
    return sse("error", encode(event))


def deleted_answer(response_id: str) -> bytes:
    """The answer to DELETE /v1/responses/{id}."""
    return encode(ResponseDeleted(id=response_id))


def input_tokens_answer(input_tokens: int) -> bytes:
    """The answer to POST /v1/responses/input_tokens."""
    return encode(InputTokensCounted(input_tokens=input_tokens))
