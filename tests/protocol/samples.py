"""A turn's events, as the server sends them, for the tests of everything that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from protocol.events import (
    ContentPartAdded,
    ContentPartDone,
    FunctionCallArgumentsDelta,
    FunctionCallArgumentsDone,
    OutputItemAdded,
    OutputItemDone,
    OutputTextDelta,
    OutputTextDone,
    ResponseCompleted,
    ResponseCreated,
    ResponseEvent,
    ResponseFailed,
    ResponseIncomplete,
    ResponseInProgress,
    ResponseQueued,
)
from protocol.items import OutputMessage, OutputText
from protocol.response import IncompleteDetails, Response, ResponseError, ResponseUsage, Status
from protocol.tools import FunctionCall, FunctionTool

RESPONSE_ID = "resp_1"
ITEM_ID = "msg_1"
AT = {"item_id": ITEM_ID, "output_index": 0, "content_index": 0}
USAGE = ResponseUsage.of(5, 2, 3)
CUT = IncompleteDetails(reason="content_filter", category="custom/example", policy_version="2026-11-22")
LENGTH = IncompleteDetails(reason="max_output_tokens")


def response(status: Status = "in_progress", **fields: Any) -> Response:
    return Response(id=RESPONSE_ID, created_at=1_700_000_000, status=status, model="m", **fields)


def begun() -> list[ResponseEvent]:
    """What precedes the first text."""
    return [
        ResponseCreated(sequence_number=0, response=response()),
        ResponseQueued(sequence_number=1, response=response("queued")),
        ResponseInProgress(sequence_number=2, response=response()),
        OutputItemAdded(
            sequence_number=3, output_index=0, item=OutputMessage(id=ITEM_ID, status="in_progress")
        ),
        ContentPartAdded(sequence_number=4, part=OutputText(text=""), **AT),
    ]


def turn(pieces: Sequence[str], status: Status = "completed", **ending: Any) -> list[ResponseEvent]:
    """A whole turn whose text comes in `pieces`; `ending` has more fields of the final response."""
    events = begun()
    text = "".join(pieces)
    for piece in pieces:
        events.append(OutputTextDelta(sequence_number=len(events), delta=piece, **AT))
    item_status = "completed" if status == "completed" else "incomplete"
    item = OutputMessage(id=ITEM_ID, status=item_status, content=(OutputText(text=text),))
    number = len(events)
    events += [
        OutputTextDone(sequence_number=number, text=text, **AT),
        ContentPartDone(sequence_number=number + 1, part=OutputText(text=text), **AT),
        OutputItemDone(sequence_number=number + 2, output_index=0, item=item),
    ]
    final = replace(response(status, usage=USAGE, **ending), output=(item,))
    terminal = ResponseCompleted if status == "completed" else ResponseIncomplete
    return [*events, terminal(sequence_number=number + 3, response=final)]


def failed() -> ResponseFailed:
    final = response("failed", error=ResponseError("model_error", "The model failed."))
    return ResponseFailed(sequence_number=5, response=final)


CALL = FunctionCall(id="fc_1", call_id="call_1", name="f", arguments='{"a":1}', status="completed")


def called() -> list[ResponseEvent]:
    """A turn that calls a function and says nothing."""
    item = replace(CALL, arguments="", status="in_progress")
    final = response("completed", usage=USAGE, tools=(FunctionTool(name="f"),), output=(CALL,))
    at: dict[str, Any] = {"item_id": CALL.id, "output_index": 0}
    return [
        *begun()[:3],
        OutputItemAdded(sequence_number=3, output_index=0, item=item),
        FunctionCallArgumentsDelta(sequence_number=4, delta='{"a"', **at),
        FunctionCallArgumentsDelta(sequence_number=5, delta=":1}", **at),
        FunctionCallArgumentsDone(sequence_number=6, arguments=CALL.arguments, **at),
        OutputItemDone(sequence_number=7, output_index=0, item=CALL),
        ResponseCompleted(sequence_number=8, response=final),
    ]


def each_event() -> list[ResponseEvent]:
    """One event of every type, and of every item."""
    cut = turn(["Hel"], "incomplete", incomplete_details=CUT)[-1]
    return [*turn(["Hel"]), cut, failed(), *called()[3:5], *called()[6:]]
