"""Everything the server says about a response, as tagged frozen structs.

`sequence_number` starts at 0 in each response and has no gaps. Events are encoded without `stream_id`;
a connection adds its lane to the ready bytes (`protocol.codec.with_lane`): one encoding serves every reader.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec import UNSET, Struct, UnsetType

from protocol.items import OutputItem, OutputText
from protocol.logprobs import TokenLogprob
from protocol.response import Response


class _Event(Struct, frozen=True, tag_field="type", kw_only=True):
    sequence_number: int
    stream_id: str | UnsetType = UNSET


class ResponseCreated(_Event, frozen=True, tag="response.created"):
    response: Response


class ResponseQueued(_Event, frozen=True, tag="response.queued"):
    response: Response


class ResponseInProgress(_Event, frozen=True, tag="response.in_progress"):
    response: Response


class OutputItemAdded(_Event, frozen=True, tag="response.output_item.added"):
    output_index: int
    item: OutputItem


class ContentPartAdded(_Event, frozen=True, tag="response.content_part.added"):
    item_id: str
    output_index: int
    content_index: int
    part: OutputText


class OutputTextDelta(_Event, frozen=True, tag="response.output_text.delta"):
    item_id: str
    output_index: int
    content_index: int
    delta: str
    logprobs: tuple[TokenLogprob, ...] = ()


class OutputTextDone(_Event, frozen=True, tag="response.output_text.done"):
    item_id: str
    output_index: int
    content_index: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


class ContentPartDone(_Event, frozen=True, tag="response.content_part.done"):
    item_id: str
    output_index: int
    content_index: int
    part: OutputText


class OutputItemDone(_Event, frozen=True, tag="response.output_item.done"):
    output_index: int
    item: OutputItem


class FunctionCallArgumentsDelta(_Event, frozen=True, tag="response.function_call_arguments.delta"):
    item_id: str
    output_index: int
    delta: str


class FunctionCallArgumentsDone(_Event, frozen=True, tag="response.function_call_arguments.done"):
    item_id: str
    output_index: int
    arguments: str


class ResponseCompleted(_Event, frozen=True, tag="response.completed"):
    response: Response


class ResponseIncomplete(_Event, frozen=True, tag="response.incomplete"):
    response: Response


class ResponseFailed(_Event, frozen=True, tag="response.failed"):
    response: Response


ResponseEvent: TypeAlias = (
    ResponseCreated
    | ResponseQueued
    | ResponseInProgress
    | OutputItemAdded
    | ContentPartAdded
    | OutputTextDelta
    | OutputTextDone
    | ContentPartDone
    | FunctionCallArgumentsDelta
    | FunctionCallArgumentsDone
    | OutputItemDone
    | ResponseCompleted
    | ResponseIncomplete
    | ResponseFailed
)

TERMINAL: Final = (ResponseCompleted, ResponseIncomplete, ResponseFailed)
TERMINAL_TYPES: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})


class ErrorBody(Struct, frozen=True, kw_only=True):
    """What went wrong, by name: `code` is a key of `protocol.codes.ERRORS`, `param` the field at fault."""

    message: str
    type: str
    param: str | None = None
    code: str


class ErrorEvent(Struct, frozen=True, tag_field="type", tag="error", kw_only=True):
    """A refusal on the socket; the connection stays open. `headers` carries retry hints."""

    status: int
    error: ErrorBody
    headers: dict[str, str] = {}
    stream_id: str | UnsetType = UNSET


class SseError(Struct, frozen=True, tag_field="type", tag="error", kw_only=True):
    """A fault in a stream of server-sent events: flat, as the SDKs expect it there."""

    sequence_number: int
    code: str
    message: str
    param: str | None = None


class ErrorAnswer(Struct, frozen=True, kw_only=True):
    """The body of every refused HTTP request."""

    error: ErrorBody
    request_id: str
