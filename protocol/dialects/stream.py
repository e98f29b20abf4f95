"""What the streams of both older dialects share: which event says what, and how they end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from msgspec import Struct

from protocol.codec import SSE_DONE, encode, error_body, sse_data
from protocol.codes import ProtocolError
from protocol.dialects.outcome import failure
from protocol.events import (
    ErrorBody,
    OutputItemAdded,
    OutputTextDelta,
    ResponseCompleted,
    ResponseEvent,
    ResponseFailed,
    ResponseIncomplete,
)
from protocol.response import Response

HOLE: Final = "\x00text\x00"
_HOLE: Final = encode(HOLE)


class StreamError(Struct, frozen=True):
    """An error in the middle of a stream, whose status has long been sent."""

    error: ErrorBody


def error_data(error: ProtocolError) -> bytes:
    """`error` as a server-sent event of these dialects."""
    return sse_data(encode(StreamError(error_body(error))))


class CompletionStream(ABC):
    """Turns a response's events, in their order, into server-sent events; b"" where there is nothing to say.

    A delta is the one thing sent for every token, so its chunk is a template around the text.
    """

    def __init__(self, template: Struct) -> None:
        """`template` is the chunk of a delta whose text is `HOLE`."""
        self._before, self._after = sse_data(encode(template)).rsplit(_HOLE, 1)

    def feed(self, event: ResponseEvent | str) -> bytes:
        """What to send for an event; a delta may come as its text alone."""
        match event:
            case str():
                return self._before + encode(event) + self._after
            case OutputTextDelta():
                return self._scored(event) if event.logprobs else self.feed(event.delta)
            case OutputItemAdded():
                return self._first()
            case ResponseCompleted() | ResponseIncomplete():
                return self._last(event.response) + SSE_DONE
            case ResponseFailed():
                error = failure(event.response)
                assert error is not None
                return error_data(error) + SSE_DONE
            case _:
                return b""

    @abstractmethod
    def _scored(self, delta: OutputTextDelta) -> bytes:
        """The chunk of a delta with log probabilities."""

    @abstractmethod
    def _first(self) -> bytes:
        """What opens the reply."""

    @abstractmethod
    def _last(self, response: Response) -> bytes:
        """What says why it ended, and at what cost."""
