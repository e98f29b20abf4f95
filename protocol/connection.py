"""The server's side of one socket, without the socket: what a frame means and what is to be done about it.

It decides and does nothing: the caller carries the actions out in order and says when a lane's turn ended.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from protocol.codec import decode_object, error_event
from protocol.codes import Close, ProtocolError
from protocol.events import ErrorEvent
from protocol.limits import ConnectionLimits, Limits
from protocol.requests.create import CreateResponse, parse_create
from protocol.requests.fields import Fields, invalid, lane_name, missing

_MAX_SHOWN_CHARS: Final = 64  # of an unknown event's type, in the error about it


@dataclass(frozen=True, slots=True)
class Start:
    """Start this turn now; `ServerConnection.ended(lane)` must follow, once, whatever becomes of it."""

    lane: str | None
    create: CreateResponse


@dataclass(frozen=True, slots=True)
class Cancel:
    """End this response early, wherever it runs. It may be unknown: then the client is told so, on `lane`."""

    response_id: str
    lane: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Send this event."""

    event: ErrorEvent


@dataclass(frozen=True, slots=True)
class CloseWith:
    """Close the socket; nothing follows."""

    code: int
    reason: str


Action: TypeAlias = Start | Cancel | Send | CloseWith
Incoming: TypeAlias = CreateResponse | Cancel | CloseWith | ErrorEvent
"""What a frame was found to say: ask for a response, cancel one, be too long, or be refused."""


@dataclass(slots=True)
class _Lane:
    running: bool = False
    waiting: deque[CreateResponse] = field(default_factory=deque)


class ServerConnection:
    """Lanes and limits of one socket.

    In a lane turns run one at a time in the order they came; lanes run side by side. Every `response.create`
    is answered by exactly one `Start` or one `Send`, unless the connection ends while it waits.
    """

    def __init__(self, limits: ConnectionLimits, request_limits: Limits) -> None:
        self._limits = limits
        self._request_limits = request_limits
        self._lanes: dict[str | None, _Lane] = {}
        self._active = 0
        self._closed = False

    @property
    def active(self) -> int:
        """Turns that run or wait for their lane."""
        return self._active

    @property
    def named_lanes(self) -> int:
        return len(self._lanes) - (None in self._lanes)

    def receive_text(self, text: str | bytes) -> list[Action]:
        """A text frame came. Nothing in it closes the connection but its size."""
        return self.receive(self.read(text))

    def read(self, text: str | bytes) -> Incoming:
        """What a text frame says, checked. Changes nothing, so a long frame can be read in another thread."""
        limits = self._request_limits
        if _exceeds(text, limits.max_body_bytes):
            return CloseWith(Close.TOO_BIG, f"a message may have {limits.max_body_bytes} bytes")
        body: dict[str, Any] = {}
        try:
            body = decode_object(text, max_nesting=limits.max_nesting, max_containers=limits.max_containers)
            return self._read(body)
        except ProtocolError as error:
            return error_event(error, lane_name(body.get("stream_id")))

    def receive(self, incoming: Incoming) -> list[Action]:
        """Act on what `read` found."""
        if self._closed:
            return []
        match incoming:
            case ErrorEvent():
                return [Send(incoming)]
            case Cancel():
                return [incoming]
            case CloseWith():
                return self._close(incoming.code, incoming.reason)
            case CreateResponse():
                return self._create(incoming)

    def receive_binary(self) -> list[Action]:
        """A binary frame came, on a connection that speaks JSON."""
        return [] if self._closed else self._close(Close.UNSUPPORTED_DATA, "this connection speaks JSON text")

    def ended(self, lane: str | None) -> list[Action]:
        """The turn that ran in `lane` is over, its terminal event or refusal sent: the next one starts."""
        state = self._lanes[lane]
        assert state.running, lane
        state.running = False
        self._active -= 1
        if self._closed or not state.waiting:
            return []
        state.running = True
        return [Start(lane, state.waiting.popleft())]

    def expired(self) -> list[Action]:
        """The connection has lived for `max_age_s`: say so and close, with a code on which SDKs reconnect."""
        error = ProtocolError(
            "websocket_connection_limit_reached",
            f"A connection lives {self._limits.max_age_s / 60:g} minutes. Open a new one and continue with "
            "previous_response_id.",
        )
        return self.end(error, Close.GOING_AWAY)

    def end(self, error: ProtocolError, code: int) -> list[Action]:
        """Close for `error`, which the client is told first; turns that wait are dropped."""
        if self._closed:
            return []
        return [Send(error_event(error, None)), *self._close(code, error.code)]

    def close(self, code: int, reason: str) -> list[Action]:
        """Close without a word of why; turns that wait are dropped."""
        return [] if self._closed else self._close(code, reason)

    def _close(self, code: int, reason: str) -> list[Action]:
        self._closed = True
        for lane in self._lanes.values():
            self._active -= len(lane.waiting)
            lane.waiting.clear()
        return [CloseWith(code, reason)]

    def _read(self, body: dict[str, Any]) -> CreateResponse | Cancel:
        kind = body.get("type")
        match kind:
            case None:
                raise missing("type")
            case "response.create":
                request = {name: value for name, value in body.items() if name != "type"}
                return parse_create(request, self._request_limits, socket=True)
            case "response.cancel":
                return self._parse_cancel(body)
            case "response.steer":
                raise ProtocolError(
                    "unsupported_parameter", "Steering a response is not supported.", param="type"
                )
            case str():
                shown = kind[:_MAX_SHOWN_CHARS]
                raise ProtocolError("invalid_value", f"Unknown event type: '{shown}'.", param="type")
            case _:
                raise invalid("type", "a string")

    def _parse_cancel(self, body: dict[str, Any]) -> Cancel:
        fields = Fields(body)
        fields.take("type")
        # The response is named by its id; a lane says only where an answer should go.
        lane = lane_name(fields.take("stream_id"))
        max_chars = self._request_limits.max_label_chars
        fields.label("event_id", max_chars)
        response_id = fields.label("response_id", max_chars)
        if response_id is None:
            raise missing("response_id")
        fields.finish()
        return Cancel(response_id, lane)

    def _create(self, create: CreateResponse) -> list[Action]:
        try:
            lane = self._admit(create.stream_id)
        except ProtocolError as error:
            return [Send(error_event(error, create.stream_id))]
        self._active += 1
        if lane.running:
            lane.waiting.append(create)
            return []
        lane.running = True
        return [Start(create.stream_id, create)]

    def _admit(self, name: str | None) -> _Lane:
        """The lane for one more turn. A refused turn leaves no lane behind."""
        if self._active >= self._limits.max_active:
            raise ProtocolError(
                "websocket_stream_limit_reached",
                f"A connection may have {self._limits.max_active} responses at a time. Wait for one to end.",
            )
        lane = self._lanes.get(name)
        if lane is not None:
            return lane
        if name is not None and self.named_lanes >= self._limits.max_lanes:
            raise ProtocolError(
                "websocket_stream_limit_reached",
                f"A connection may name {self._limits.max_lanes} lanes. Use one of them again.",
                param="stream_id",
            )
        lane = self._lanes[name] = _Lane()
        return lane

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<ServerConnection {state} active={self._active} lanes={self.named_lanes}>"


def _exceeds(text: str | bytes, limit: int) -> bool:
    """Whether `text` has more than `limit` bytes, encoding it only where its length leaves that open."""
    if len(text) > limit or isinstance(text, bytes):
        return len(text) > limit
    return not text.isascii() and len(text) * 4 > limit and len(text.encode("utf-8", "surrogatepass")) > limit
