"""One response from its first event to its last: the engine's outputs go through the gate and out as events.

Everything here runs on the event loop's thread without await, so the order of events is the order of calls.
Text that the gate holds lives in the gate alone; a turn keeps released text.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from msgspec.structs import replace

from app.emitter import Emitter
from app.moderation import Cut, Gate, GateStep
from app.scores import ScoreBook
from engine.interface import Engine
from engine.request import EngineError, EngineRequest, Finished, FinishReason, Output, Queued, Scored, Started
from protocol.events import (
    ResponseCompleted,
    ResponseCreated,
    ResponseEvent,
    ResponseFailed,
    ResponseIncomplete,
    ResponseInProgress,
    ResponseQueued,
)
from protocol.response import IncompleteDetails, Response, ResponseError, ResponseUsage, Status

log = logging.getLogger("sluice.turn")


class Turn(Emitter):
    """A response in the making.

    `submit` starts it, `deliver` feeds it, `ended` is set when the engine has let go of it, `conclude` sends
    the one terminal event. `cancel` may come at any time.
    """

    __slots__ = (
        "_cancelled",
        "_cancelled_for",
        "_cut",
        "_engine",
        "_error",
        "_gate",
        "_reason",
        "_scores",
        "_silent",
        "_submitted",
        "_unjudged",
        "_warm_up",
        "concluded",
        "ended",
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
        scores: ScoreBook | None = None,
    ) -> None:
        """`scores` is for a response whose log probabilities were asked for."""
        super().__init__(item_id, max_events)
        self.response = response
        self.tenant = tenant
        self.ended = asyncio.Event()  # the engine has let go of it
        self.concluded = asyncio.Event()  # its terminal event is out
        self.usage = ResponseUsage.of(0, 0, 0)
        self.token_ids: Sequence[int] = ()  # as generated, released or not: for the history's ids, never sent
        self._gate = gate
        self._scores = scores
        self._unjudged = gate.transparent  # text passes as it is
        self._engine = engine
        self._warm_up = warm_up  # a warm-up has no output item
        self._submitted = False
        self._cancelled = False
        self._cancelled_for: ResponseError | None = None
        self._silent = False  # cancelled, cut or failed: nothing more is released
        self._cut: Cut | None = None
        self._error: ResponseError | None = None
        self._reason: FinishReason | None = None

    @property
    def id(self) -> str:
        return self.response.id

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    @property
    def cut(self) -> Cut | None:
        return self._cut

    def submit(self, request: EngineRequest) -> None:
        """Hand the request to the engine and announce the response. Raises EngineError if the engine refuses it.

        Where the announcement fails, by a fault of ours, the engine is told to end and nobody hears more of it.
        """
        self._engine.submit(request, self.deliver)
        self._submitted = True
        try:
            self.emit(ResponseCreated(sequence_number=self.number, response=self.response))
        except Exception:
            self._read_by()
            self.fail("internal_error", "The server failed before the response began.")
            raise
        if self._cancelled:  # asked for while the context was being read
            self._engine.cancel(self.id)

    def cancel(self, why: ResponseError | None = None) -> None:
        """Ask for an end; nothing more is released. The terminal event comes when the engine has let go.

        `why` is shown where it was not the client who wanted it.
        """
        if self._cancelled or self._reason is not None or self._cut is not None:
            return
        self._cancelled = True
        self._cancelled_for = why
        self._hush()
        if self._submitted:
            self._engine.cancel(self.id)

    def deliver(self, output: Output) -> None:
        """The engine's outputs, in order. A fault of ours ends this response by name, and no other."""
        try:
            if type(output) is str:  # the hot path: called for every token
                if self._unjudged:
                    self.release(output)
                elif not self._silent:  # late text is dropped
                    released = self._gate.glance(output)
                    if released:
                        self.release(released)
                    elif released is None:
                        self._judge(self._gate.push(output))
            elif type(output) is Scored:
                self._on_scored(output)
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
                try:
                    self.close_item("incomplete")
                finally:
                    self.ended.set()

    def fail(self, code: str, message: str) -> None:
        """End as failed, for a fault that is not the engine's."""
        if self._error is None:
            self._error = ResponseError(code=code, message=message)
        self._hush()
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
            error=self._error or (self._cancelled_for if status == "cancelled" else None),
            completed_at=completed_at if status == "completed" else None,
            output=self.items("completed" if status == "completed" else "incomplete"),
            usage=self.usage,
        )

    def conclude(self, response: Response) -> None:
        """Send the terminal event: the last one, exactly once."""
        self.response = response
        event: ResponseEvent
        if response.status == "completed":
            event = ResponseCompleted(sequence_number=self.number, response=response)
        elif response.status == "failed":
            event = ResponseFailed(sequence_number=self.number, response=response)
        else:  # the SDKs' lanes end on `incomplete`; its status says "cancelled" where that is why
            event = ResponseIncomplete(sequence_number=self.number, response=response)
        self.emit(event)
        self._read_by()
        self.concluded.set()

    def _on_queued(self) -> None:
        if not self._cancelled:
            self.emit(
                ResponseQueued(sequence_number=self.number, response=replace(self.response, status="queued"))
            )

    def _on_started(self) -> None:
        self.emit(ResponseInProgress(sequence_number=self.number, response=self.response))

    def _on_scored(self, output: Scored) -> None:
        assert self._scores is not None
        if not self._silent:
            self._scores.add(output)
            self._judge(self._gate.push(str(output)))

    def _on_finished(self, output: Finished) -> None:
        self.token_ids = output.token_ids
        self.usage = ResponseUsage.of(output.usage.input, output.usage.cached, output.usage.output)
        if not self._silent:
            if output.reason in (FinishReason.STOP, FinishReason.LENGTH):
                self._judge(self._gate.finish())
                if self._cut is None and not self._item_open and not self._warm_up:
                    self.open_item()  # a reply without text is still a reply
            elif output.reason is FinishReason.FAILED:
                error = output.error or EngineError("internal_error", "The engine failed.")
                self._error = ResponseError(code=error.code, message=error.message)
            else:
                self._cancelled = True
        self._reason = output.reason
        self.close_item("completed" if self._outcome()[0] == "completed" else "incomplete")
        self.ended.set()

    def _hush(self) -> None:
        """Nothing more is released."""
        self._silent = True
        self._unjudged = False

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
        if step.released:
            if self._scores is None:
                self.release(step.released)
            else:
                scores = self._scores.release(self._gate.decided, self._gate.hidden)
                self.release_scored(step.released, scores)
        self.annotate(step.annotations)
        if step.cut is not None:
            self._cut = step.cut
            self._hush()
            self._engine.cancel(self.id)

    def __repr__(self) -> str:
        state = self._reason or (
            "cancelling" if self._cancelled else "streaming" if self._item_open else "waiting"
        )
        return f"<Turn {self.id} {state} seq={self.number}>"
