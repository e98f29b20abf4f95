"""The bytes of every event, and what the official SDK makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from openai.types.responses import Response as SdkResponse
from openai.types.responses import ResponseStreamEvent
from openai.types.responses.responses_server_event import ResponsesServerEvent
from pydantic import BaseModel, TypeAdapter

from protocol.codec import encode, error_event, with_lane
from protocol.codes import ProtocolError
from protocol.dialects.responses import deleted_answer, error_sse, event_sse, input_tokens_answer, type_of
from protocol.events import TERMINAL, TERMINAL_TYPES, ResponseEvent, ResponseFailed
from protocol.response import ResponseError
from tests.protocol.samples import CUT, each_event, failed, response, turn
from tests.protocol.validation import validate, validate_event, validate_sse_event

FIELDS_BEYOND_THE_SDK = {
    "presence_penalty",  # of the standard
    "frequency_penalty",  # of the standard
    "store",  # of the standard
    "category",  # ours
    "policy_version",  # ours
}
GOLDEN = (Path(__file__).parent / "golden_events.jsonl").read_text().splitlines()


def extras(model: Any) -> Iterator[str]:
    """Names of fields anywhere in `model` that its type does not know."""
    if isinstance(model, BaseModel):
        yield from model.model_extra or ()
        for name in model.model_fields_set:
            yield from extras(getattr(model, name))
    elif isinstance(model, (list, tuple)):
        for part in model:
            yield from extras(part)


def test_the_bytes_of_each_event() -> None:
    assert [encode(event).decode() for event in each_event()] == GOLDEN


@pytest.mark.parametrize("event", each_event(), ids=lambda event: type_of(encode(event)))
@pytest.mark.parametrize("lane", [None, "a"])
def test_the_sdk_knows_each_event_and_every_field_of_it(event: ResponseEvent, lane: str | None) -> None:
    if isinstance(event, ResponseFailed):  # the SDK's type lists codes, though what it reads may have others
        error = ResponseError("rate_limit_exceeded", "Slow down.")
        event = replace(event, response=replace(event.response, error=error))
    data = with_lane(encode(event), lane)
    on_socket: Any = TypeAdapter(ResponsesServerEvent).validate_json(data)
    assert type(on_socket).model_fields["type"].annotation.__args__ == (type_of(encode(event)),)
    assert set(extras(on_socket)) <= FIELDS_BEYOND_THE_SDK
    assert on_socket.stream_id == lane
    in_stream: Any = TypeAdapter(ResponseStreamEvent).validate_json(encode(event))
    assert set(extras(in_stream)) <= FIELDS_BEYOND_THE_SDK
    validate_event(data)
    validate_sse_event(encode(event))


@pytest.mark.parametrize(
    "status", ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
)
def test_the_sdk_knows_a_response_in_every_state(status: Any) -> None:
    data = encode(response(status, incomplete_details=CUT, metadata={"k": "v"}, completed_at=1_700_000_001))
    parsed = SdkResponse.model_validate_json(data)
    assert parsed.status == status
    assert set(extras(parsed)) <= FIELDS_BEYOND_THE_SDK
    validate(data, "Response")


def test_the_sdk_knows_an_error_on_the_socket() -> None:
    data = encode(error_event(ProtocolError("queue_full", "Full.", param="p", retry_after_s=2), "a"))
    parsed: Any = TypeAdapter(ResponsesServerEvent).validate_json(data)
    assert (parsed.type, parsed.status, parsed.error.code, parsed.stream_id) == (
        "error",
        503,
        "queue_full",
        "a",
    )
    assert set(extras(parsed)) == {"headers"}  # the SDK passes on what its type does not name
    validate_event(data)


def test_the_sdk_knows_an_error_in_a_stream() -> None:
    frame = error_sse(ProtocolError("store_unavailable", "Gone."), 7).decode()
    assert frame.startswith("event: error\ndata: ")
    data = frame.split("data: ", 1)[1]
    parsed: Any = TypeAdapter(ResponseStreamEvent).validate_json(data)
    assert (parsed.type, parsed.sequence_number, parsed.code) == ("error", 7, "store_unavailable")
    assert set(extras(parsed)) == set()
    validate_sse_event(data)


def test_terminal_types_are_those_of_the_terminal_events() -> None:
    assert {type_of(encode(event)) for event in each_event() if isinstance(event, TERMINAL)} == TERMINAL_TYPES


def test_an_event_as_a_server_sent_event() -> None:
    event = failed()
    data = encode(event)
    assert event_sse(data) == b"event: response.failed\ndata: " + data + b"\n\n"


def test_a_turn_has_no_gap_in_its_numbers() -> None:
    events = turn(["a", "b"])
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_small_answers() -> None:
    deleted, counted = deleted_answer("resp_1"), input_tokens_answer(12)
    assert json.loads(deleted) == {"id": "resp_1", "object": "response", "deleted": True}
    assert json.loads(counted) == {"object": "response.input_tokens", "input_tokens": 12}
    validate(deleted, "ResponseDeleted")
    validate(counted, "InputTokensCounted")
