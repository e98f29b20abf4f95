"""The client's side of one socket, without the socket: what to send, and whether answers keep the contract.

It follows each lane's response from `response.created` to its one terminal event and checks the order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Struct

from protocol.codec import encode
from protocol.events import TERMINAL_TYPES, ErrorBody


class ReceivedResponse(Struct, frozen=True, kw_only=True):
    """What a client needs of the response object in an event."""

    id: str
    status: str
    usage: dict[str, Any] | None = None
    incomplete_details: dict[str, Any] | None = None


class Received(Struct, frozen=True, kw_only=True):
    """Any event, with the fields that a client acts on; unknown events and fields pass."""

    type: str
    sequence_number: int | None = None
    stream_id: str | None = None
    delta: str = ""
    text: str = ""
    response: ReceivedResponse | None = None
    error: ErrorBody | None = None
    headers: dict[str, str] = {}

    @property
    def terminal(self) -> bool:
        return self.type in TERMINAL_TYPES


class ContractBroken(Exception):
    """The server said something that the wire's contract forbids."""


@dataclass(slots=True)
class Progress:
    """How far a lane's response has come."""

    response_id: str
    next_sequence: int = 1
    ended: bool = False


_DECODER: Final = msgspec.json.Decoder(Received)


class ClientConnection:
    """Builds events to send and follows those received, lane by lane."""

    def __init__(self) -> None:
        self._lanes: dict[str | None, Progress] = {}

    def create(self, input: str | list[dict[str, Any]], stream_id: str | None = None, **body: Any) -> bytes:
        """A `response.create`; `body` has any other field of the request."""
        event = {"type": "response.create", "input": input, **body}
        if stream_id is not None:
            event["stream_id"] = stream_id
        return encode(event)

    def cancel(self, response_id: str) -> bytes:
        return encode({"type": "response.cancel", "response_id": response_id})

    def progress(self, stream_id: str | None = None) -> Progress | None:
        """The lane's last response, None before its first `response.created`."""
        return self._lanes.get(stream_id)

    @property
    def open_lanes(self) -> list[str | None]:
        """Lanes with a response that has begun and not ended."""
        return [stream_id for stream_id, progress in self._lanes.items() if not progress.ended]

    def receive(self, data: str | bytes) -> Received:
        """Read one event. Raises ContractBroken for what is no event, a gap, a repetition, a late event."""
        try:
            event = _DECODER.decode(data)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise ContractBroken(f"not an event: {error}") from error
        if event.type.startswith("response."):
            self._follow(event)
        return event

    def _follow(self, event: Received) -> None:
        if event.type == "response.created":
            self._begin(event)
            return
        progress = self._lanes.get(event.stream_id)
        if progress is None or progress.ended:
            raise ContractBroken(f"{event.type} outside a response, lane {event.stream_id}")
        if event.sequence_number != progress.next_sequence:
            raise ContractBroken(
                f"{event.type} has sequence_number {event.sequence_number}, not {progress.next_sequence}"
            )
        if event.response is not None and event.response.id != progress.response_id:
            raise ContractBroken(f"{event.type} is of {event.response.id}, not of {progress.response_id}")
        progress.next_sequence += 1
        progress.ended = event.terminal

    def _begin(self, event: Received) -> None:
        before = self._lanes.get(event.stream_id)
        if before is not None and not before.ended:
            raise ContractBroken(f"a response began before {before.response_id} ended")
        if event.response is None or event.sequence_number != 0:
            raise ContractBroken("response.created is not the first event of a response")
        self._lanes[event.stream_id] = Progress(event.response.id)
