"""A response's events on their way out: numbered, kept in its journal, handed to whoever reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.journal import Journal
from app.moderation import Annotation
from app.scores import Placed
from protocol.codec import DELTA, NO_LANE, encode
from protocol.events import (
    ContentPartAdded,
    ContentPartDone,
    OutputItemAdded,
    OutputItemDone,
    OutputTextDelta,
    OutputTextDone,
    ResponseEvent,
)
from protocol.items import OutputItem, OutputMessage, OutputText
from protocol.logprobs import TokenLogprob


class Sink:
    """Whoever reads a response: a lane of a socket, a stream of server-sent events, a collector."""

    __slots__ = ()

    def offer(self, data: bytes, number: int, event: ResponseEvent | str) -> None:
        """Take an event's JSON, its number and itself. Must not block, raise, or call back into the turn.

        A delta comes as its text alone: there is one for every token, and most readers want the JSON only.
        """
        raise NotImplementedError

    @property
    def direct(self) -> tuple[Sink, bytes]:
        """Who may be offered deltas in this one's place, and what their JSON is to end with."""
        return self, NO_LANE


class Readers(Sink):
    """No reader, or several, each of whom gets the same bytes."""

    __slots__ = ("sinks",)

    def __init__(self, sinks: tuple[Sink, ...]) -> None:
        self.sinks = sinks

    def offer(self, data: bytes, number: int, event: ResponseEvent | str) -> None:
        for sink in self.sinks:
            sink.offer(data, number, event)


class Emitter:
    """Emits one response's events in the order of calls; it is given released text only."""

    __slots__ = (
        "_annotations",
        "_direct",
        "_item_id",
        "_item_open",
        "_logprobs",
        "_max_events",
        "_scored",
        "_sink",
        "_tail",
        "_told",
        "first_text_s",
        "on_first_text",
    )

    def __init__(self, item_id: str, max_events: int) -> None:
        self.on_first_text: Callable[[], float] | None = None
        self.first_text_s: float | None = None  # what that says: how long it took
        self._told = Journal(item_id)
        self._read_by()
        self._item_id = item_id
        self._item_open = False
        self._annotations: list[dict[str, Any]] = []
        self._scored: list[
            str
        ] = []  # deltas that went out with log probabilities; the others are in the journal
        self._logprobs: list[TokenLogprob] = []
        self._max_events = max_events

    @property
    def text(self) -> str:
        """The released text so far. All deltas of a response have log probabilities, or none has."""
        return "".join(self._scored) or self._told.text

    @property
    def number(self) -> int:
        """The next event's `sequence_number`."""
        return len(self._told)

    @property
    def journal(self) -> Journal | None:
        """What was emitted, or None if it is too long to be replayed."""
        return self._told if len(self._told) <= self._max_events else None

    def attach(self, sink: Sink) -> None:
        """Let `sink` have what comes from now on."""
        self._read_by(*self.readers, sink)

    def detach(self, sink: Sink) -> None:
        self._read_by(*(other for other in self.readers if other is not sink))

    @property
    def readers(self) -> tuple[Sink, ...]:
        return self._sink.sinks if isinstance(self._sink, Readers) else (self._sink,)

    def _read_by(self, *sinks: Sink) -> None:
        self._sink = sinks[0] if len(sinks) == 1 else Readers(sinks)
        self._direct, self._tail = self._sink.direct

    def emit(self, event: ResponseEvent) -> None:
        """Send an event that was numbered with `number`."""
        data = encode(event)
        told = self._told
        number = len(told)
        told.append(data)
        self._sink.offer(data, number, event)

    def release(self, text: str) -> None:
        """Send released text as a delta; the first one opens the output item."""
        if not self._item_open:
            self.open_item()
        told = self._told
        number = len(told)
        told.append(text)
        self._direct.offer(DELTA % (told.item_id, encode(text), number, self._tail), number, text)

    def release_scored(self, text: str, scores: tuple[Placed, ...]) -> None:
        """Send released text with the log probabilities of the tokens that it completes."""
        logprobs = tuple(placed.score for placed in scores)
        if not self._item_open:
            self.open_item()
        self._scored.append(text)
        self._logprobs += logprobs
        self.emit(
            OutputTextDelta(
                sequence_number=self.number,
                item_id=self._item_id,
                output_index=0,
                content_index=0,
                delta=text,
                logprobs=logprobs,
            )
        )

    def annotate(self, notes: tuple[Annotation, ...]) -> None:
        """Keep notes on released text; they go out with the item's end."""
        for note in notes:
            self._annotations.append(
                {
                    "type": "sluice:moderation",
                    "start_index": note.start,
                    "end_index": note.end,
                    "category": note.category,
                }
            )

    def _begun(self) -> None:
        if not self._item_open and self.on_first_text is not None:
            self.first_text_s = self.on_first_text()
        self._item_open = True

    def open_item(self) -> None:
        self._begun()
        item = OutputMessage(id=self._item_id, status="in_progress")
        self.emit(OutputItemAdded(sequence_number=self.number, output_index=0, item=item))
        self.emit(
            ContentPartAdded(
                sequence_number=self.number,
                item_id=self._item_id,
                output_index=0,
                content_index=0,
                part=OutputText(text=""),
            )
        )

    def close_item(self, status: Any) -> None:
        """Say what the item holds in the end, if one was opened."""
        if not self._item_open:
            return
        item = self.item(status)
        part = item.content[0]
        self.emit(
            OutputTextDone(
                sequence_number=self.number,
                item_id=self._item_id,
                output_index=0,
                content_index=0,
                text=part.text,
                logprobs=part.logprobs,
            )
        )
        self.emit(
            ContentPartDone(
                sequence_number=self.number,
                item_id=self._item_id,
                output_index=0,
                content_index=0,
                part=part,
            )
        )
        self.emit(OutputItemDone(sequence_number=self.number, output_index=0, item=item))

    def item(self, status: Any) -> OutputMessage:
        """The output item as it is now."""
        part = OutputText(
            text=self.text, annotations=tuple(self._annotations), logprobs=tuple(self._logprobs)
        )
        return OutputMessage(id=self._item_id, status=status, content=(part,))

    def items(self, status: Any) -> tuple[OutputItem, ...]:
        """The output: one item, or none where none was opened."""
        return (self.item(status),) if self._item_open else ()
