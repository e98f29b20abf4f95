"""What the streams of both older dialects share: which event says what, and how they end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Final, Generic, TypeVar

from msgspec import UNSET, Struct, UnsetType

from protocol.codec import SSE_DONE, encode, error_body, sse_data
from protocol.codes import ProtocolError
from protocol.dialects.outcome import broken_off
from protocol.events import (
    ErrorBody,
    OutputItemAdded,
    OutputTextDelta,
    ResponseCompleted,
    ResponseEvent,
    ResponseFailed,
    ResponseIncomplete,
)
from protocol.response import Response, ServedTier
from protocol.usage import CompletionUsage

Choice = TypeVar("Choice", bound=Struct)

HOLE: Final = "\x00text\x00"
_HOLE: Final = encode(HOLE)


class StreamError(Struct, frozen=True):
    """An error in the middle of a stream, whose status has long been sent."""

    error: ErrorBody


def error_data(error: ProtocolError) -> bytes:
    """`error` as a server-sent event of these dialects."""
    return sse_data(encode(StreamError(error_body(error))))


class CompletionStream(ABC, Generic[Choice]):
    """Turns a response's events, in their order, into server-sent events; b"" where there is nothing to say.

    A delta is the one thing sent for every token, so its chunk is a template around the text. Text once sent stays: a
    `done` that shortens it cannot be said in these dialects.
    """

    chunk: ClassVar[Callable[..., Struct]]
    """Of `id`, `created`, `model`, `choices`, `usage` and `service_tier`."""

    def __init__(self, completion_id: str, created: int, model: str, include_usage: bool) -> None:
        self._facts = {"id": completion_id, "created": created, "model": model}
        self._include_usage = include_usage
        self._before, self._after = self._chunk(self._delta(HOLE)).rsplit(_HOLE, 1)

    def feed(self, event: ResponseEvent | str) -> bytes:
        """What to send for an event; a delta may come as its text alone."""
        match event:
            case str():
                return self._before + encode(event) + self._after
            case OutputTextDelta():
                return self._chunk(self._scored(event)) if event.logprobs else self.feed(event.delta)
            case OutputItemAdded():
                return self._first()
            case ResponseCompleted() | ResponseIncomplete() | ResponseFailed():
                error = broken_off(event.response)
                return (self._last(event.response) if error is None else error_data(error)) + SSE_DONE
            case _:
                return b""

    @abstractmethod
    def _delta(self, text: str) -> Choice:
        """New text."""

    @abstractmethod
    def _scored(self, delta: OutputTextDelta) -> Choice:
        """New text with log probabilities."""

    @abstractmethod
    def _ending(self, response: Response) -> Choice:
        """Why the reply ended."""

    def _first(self) -> bytes:
        """What opens the reply."""
        return b""

    def _last(self, response: Response) -> bytes:
        """What says why it ended, and at what cost if that was asked for."""
        chunks = self._chunk(self._ending(response), tier=response.service_tier)
        if self._include_usage and response.usage is not None:
            chunks += self._chunk(usage=CompletionUsage.of(response.usage))
        return chunks

    def _chunk(
        self,
        *choices: Choice,
        usage: CompletionUsage | None = None,
        tier: ServedTier | UnsetType = UNSET,
    ) -> bytes:
        shown = usage if self._include_usage else UNSET
        return sse_data(encode(self.chunk(**self._facts, choices=choices, usage=shown, service_tier=tier)))
