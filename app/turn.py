"""One response from its first event to its last: the engine's outputs go through the gate and out as events.

Everything here runs on the event loop's thread without await, so the order of events is the order of calls.
Text that the gate holds lives in the gate alone; a turn keeps released text.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec.structs import replace

from app.journal import Journal
from app.moderation import Cut, Gate, GateStep
from engine.interface import Engine
from engine.request import EngineError, EngineRequest, Finished, FinishReason, Output, Queued, Started
from protocol.codec import delta_template, encode
from protocol.events import (
    ContentPartAdded,
    ContentPartDone,
    OutputItemAdded,
    OutputItemDone,
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

log = logging.getLogger("sluice.turn")


class Sink(Protocol):
    """Whoever reads a response: a lane of a socket, a stream of server-sent events, a collector."""

    def offer(self, number: int, event: ResponseEvent | str, data: bytes) -> None:
        """Take an event, its number and its JSON. Must not block, raise, or call back into the turn.

        A delta comes as its text alone: there is one for every token, and most readers want the JSON only.
        """
        ...


class Turn:
    """A response in the making.

    `submit` starts it, `deliver` feeds it, `ended` is set when the engine has let go of it, `conclude` sends
    the one terminal event. `cancel` may come at any time.
    """

    __slots__ = (
        "_annotations",
        "_cancelled",
        "_cut",
        "_delta",
        "_engine",
        "_error",
        "_gate",
        "_item_id",
        "_item_open",
        "_max_events",
        "_reason",
        "_seq",
        "_silent",
        "_sinks",
        "_submitted",
        "_text",
        "_warm_up",
        "concluded",
        "ended",
        "journal",
        "on_first_text",
        "response",
        "tenant",
        "token_ids",
        "usage",
    )

    def __init__(
        self,
        *,
        response: Response,
        item_id: str,
        tenant: str,
        gate: Gate,
        engine: Engine,
        max_events: int,
        warm_up: bool = False,
    ) -> None:
        self.response = response
        self.tenant = tenant
        self.journal: Journal | None = Journal()
        self.ended = asyncio.Event()  # the engine has let go of it
        self.concluded = asyncio.Event()  # its terminal event is out
        self.usage = ResponseUsage.of(0, 0, 0)
        self.token_ids: Sequence[int] = ()  # as generated, released or not: for the history's ids, never sent
        self.on_first_text: Callable[[], None] | None = None
        self._item_id = item_id
        self._delta = delta_template(item_id)
        self._gate = gate
        self._engine = engine
        self._max_events = max_events
        self._warm_up = warm_up  # a warm-up has no output item
        self._sinks: tuple[Sink, ...] = ()
        self._seq = 0
        self._text: list[str] = []
        self._annotations: list[dict[str, Any]] = []
        self._item_open = False
        self._submitted = False
        self._cancelled = False
        self._silent = False  # cancelled, cut or failed: nothing more is released
        self._cut: Cut | None = None
        self._error: ResponseError | None = None
        self._reason: FinishReason | None = None

    @property
    def id(self) -> str:
        return self.response.id

    @property
    def text(self) -> str:
        """The released text so far."""
        return "".join(self._text)

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    @property
    def cut(self) -> Cut | None:
        return self._cut

    def attach(self, sink: Sink) -> None:
        self._sinks += (sink,)

    def detach(self, sink: Sink) -> None:
        self._sinks = tuple(other for other in self._sinks if other is not sink)

    def submit(self, request: EngineRequest) -> None:
        """Hand the request to the engine and announce the response. Raises EngineError if the engine refuses it."""
        self._engine.submit(request, self.deliver)
        self._submitted = True
        self._emit(ResponseCreated(sequence_number=self._seq, response=self.response))
        if self._cancelled:  # asked for while the context was being read
            self._engine.cancel(self.id)

    def cancel(self) -> None:
        """Ask for an end; nothing more is released. The terminal event comes when the engine has let go."""
        if self._cancelled or self._reason is not None or self._cut is not None:
            return
        self._cancelled = self._silent = True
        if self._submitted:
            self._engine.cancel(self.id)

    def deliver(self, output: Output) -> None:
        """The engine's outputs, in order. A fault of ours ends this response by name, and no other."""
        try:
            if type(output) is str:  # the hot path: called for every token
                if self._silent:
                    return  # late text is dropped
                step = self._gate.push(output)
                if step.released:
                    self._release(step.released)
                if step.cut is not None or step.annotations:
                    self._judge(step)
            elif type(output) is Finished:
                self._on_finished(output)
            elif type(output) is Started:
                self._on_started()
            else:
                assert type(output) is Queued
                self._on_queued()
        except Exception:
            log.exception("turn failed response=%s", self.id)
            self.fail("internal_error", "The server failed while it was streaming this response.")
            if type(output) is Finished:
                self._reason = FinishReason.FAILED
                self._close_item()
                self.ended.set()

    def fail(self, code: str, message: str) -> None:
        """End as failed, for a fault that is not the engine's."""
        if self._error is None:
            self._error = ResponseError(code=code, message=message)
        self._silent = True
        if self._submitted and self._reason is None:
            self._engine.cancel(self.id)

    def finished_response(self, completed_at: int) -> Response:
        """The response as its terminal event will show it. Only after `ended`."""
        assert self._reason is not None
        status, details = self._outcome()
        return replace(
            self.response,
            status=status,
            incomplete_details=details,
            error=self._error,
            completed_at=completed_at if status == "completed" else None,
            output=(self._item("completed" if status == "completed" else "incomplete"),)
            if self._item_open
            else (),
            usage=self.usage,
        )

    def conclude(self, response: Response) -> None:
        """Send the terminal event: the last one, exactly once."""
        self.response = response
        event: ResponseEvent
        if response.status == "completed":
            event = ResponseCompleted(sequence_number=self._seq, response=response)
        elif response.status == "failed":
            event = ResponseFailed(sequence_number=self._seq, response=response)
        else:  # the SDKs' lanes end on `incomplete`; its status says "cancelled" where that is why
            event = ResponseIncomplete(sequence_number=self._seq, response=response)
        self._emit(event)
        self._sinks = ()
        self.concluded.set()

    def _on_queued(self) -> None:
        if not self._cancelled:
            self._emit(
                ResponseQueued(sequence_number=self._seq, response=replace(self.response, status="queued"))
            )

    def _on_started(self) -> None:
        self._emit(ResponseInProgress(sequence_number=self._seq, response=self.response))

    def _on_finished(self, output: Finished) -> None:
        self.token_ids = output.token_ids
        self.usage = ResponseUsage.of(output.usage.input, output.usage.cached, output.usage.output)
        if not self._silent:
            if output.reason in (FinishReason.STOP, FinishReason.LENGTH):
                step = self._gate.finish()
                if step.released:
                    self._release(step.released)
                self._judge(step)
                if self._cut is None and not self._item_open and not self._warm_up:
                    self._open_item()  # a reply without text is still a reply
            elif output.reason is FinishReason.FAILED:
                error = output.error or EngineError("internal_error", "The engine failed.")
                self._error = ResponseError(code=error.code, message=error.message)
            else:
                self._cancelled = True
        self._reason = output.reason
        self._close_item()
        self.ended.set()

    def _outcome(self) -> tuple[Status, IncompleteDetails | None]:
        if self._error is not None:
            return "failed", None
        if self._cut is not None:
            return "incomplete", IncompleteDetails(
                reason="content_filter", category=self._cut.category, policy_version=self._cut.policy_version
            )
        if self._cancelled:
            return "cancelled", None
        if self._reason is FinishReason.LENGTH:
            return "incomplete", IncompleteDetails(reason="max_output_tokens")
        return "completed", None

    def _judge(self, step: GateStep) -> None:
        for note in step.annotations:
            self._annotations.append(
                {
                    "type": "sluice:moderation",
                    "start_index": note.start,
                    "end_index": note.end,
                    "category": note.category,
                }
            )
        if step.cut is not None:
            self._cut = step.cut
            self._silent = True
            self._engine.cancel(self.id)

    def _release(self, text: str) -> None:
        if not self._item_open:
            self._open_item()
        self._text.append(text)
        self._send(text, self._delta % (encode(text), self._seq))

    def _open_item(self) -> None:
        self._item_open = True
        if self.on_first_text is not None:
            self.on_first_text()
        item = OutputMessage(id=self._item_id, status="in_progress")
        self._emit(OutputItemAdded(sequence_number=self._seq, output_index=0, item=item))
        self._emit(
            ContentPartAdded(
                sequence_number=self._seq,
                item_id=self._item_id,
                output_index=0,
                content_index=0,
                part=OutputText(text=""),
            )
        )

    def _close_item(self) -> None:
        if not self._item_open:
            return
        status, _ = self._outcome()
        item = self._item("completed" if status == "completed" else "incomplete")
        part = item.content[0]
        self._emit(
            OutputTextDone(
                sequence_number=self._seq,
                item_id=self._item_id,
                output_index=0,
                content_index=0,
                text=part.text,
            )
        )
        self._emit(
            ContentPartDone(
                sequence_number=self._seq, item_id=self._item_id, output_index=0, content_index=0, part=part
            )
        )
        self._emit(OutputItemDone(sequence_number=self._seq, output_index=0, item=item))

    def _item(self, status: Any) -> OutputMessage:
        part = OutputText(text=self.text, annotations=tuple(self._annotations))
        return OutputMessage(id=self._item_id, status=status, content=(part,))

    def _emit(self, event: ResponseEvent) -> None:
        self._send(event, encode(event))

    def _send(self, event: ResponseEvent | str, data: bytes) -> None:
        number = self._seq
        self._seq = number + 1
        journal = self.journal
        if journal is not None:
            if number < self._max_events:
                journal.append(data)
            else:
                self.journal = None  # too long to replay; whoever listens still gets all of it
        for sink in self._sinks:
            sink.offer(number, event, data)

    def __repr__(self) -> str:
        state = self._reason or (
            "cancelling" if self._cancelled else "streaming" if self._item_open else "waiting"
        )
        return f"<Turn {self.id} {state} seq={self._seq}>"
