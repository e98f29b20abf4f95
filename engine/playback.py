"""A reply that is known beforehand, cut into the deltas that a model's sampling would have given."""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass
from itertools import islice
from typing import Final

from engine.reply import Reply
from engine.request import ChatMessage, Deliver, EngineError, EngineRequest, FinishReason
from engine.scripted_tokenizer import END_OF_TURN, token_of
from engine.sequence import Sequence

AHEAD: Final = 256
"""Tokens worked out at once: long replies neither stall a step nor fill the memory."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request: refused at submission, or failed or stalled after so many tokens."""

    after_tokens: int = 0
    error: Exception | None = (
        None  # without one the reply stalls: no token, no end, until a time limit or a cancel
    )
    refuse: EngineError | None = None


def echoed_text(source: tuple[ChatMessage, ...] | str) -> str:
    """The last user message (with none, the last message), or what a call just gave; a plain prompt as it is."""
    if isinstance(source, str):
        return source
    if source and source[-1].role == "tool":
        return source[-1].content
    users = [message for message in source if message.role == "user"]
    return (users or source)[-1].content if source else ""


class _Texts:
    """The TextStream of a script: the text of the next token is put here before the token is."""

    holding = False
    next = ""

    def push(self, token: int) -> str:
        return self.next

    def flush(self) -> str:
        return ""


class Playback(Reply):
    """One sequence's script: what each of its tokens says, worked out ahead of its steps."""

    __slots__ = (
        "_max_output",
        "_message_tokens",
        "_source",
        "_texts",
        "_unstoppable",
        "ahead",
        "deliver",
        "due_s",
        "end",
        "fault",
        "fault_at",
        "ids",
        "on_wheel",
        "reach",
        "sequence",
        "texts",
    )

    def __init__(
        self, request: EngineRequest, max_output: int, pieces: Items[str], fault: Fault | None
    ) -> None:
        self._texts = _Texts()
        super().__init__(self._texts, request.sampling, max_output, {END_OF_TURN})
        self.sequence: Sequence | None = None
        self.deliver: Deliver  # the sequence's, once it begins to speak
        self.on_wheel = False
        # The texts up to token `reach`, the last one first: they come before anything is to be decided again.
        self.ahead: list[str] = []
        self.reach = 0
        self.due_s = 0.0  # when its next token should come
        self.ids: list[int] = []
        # What token n adds to the text: "" for none, or while a stop string is undecided.
        self.texts: list[str] = []
        self.end: float = math.inf  # how many tokens there are, once that is known
        self.fault = fault
        self.fault_at: float = fault.after_tokens if fault else math.inf
        self._unstoppable = not request.sampling.stop
        self._max_output = max_output
        self._message_tokens = math.inf if request.sampling.ignore_eos else max(1, len(pieces))
        self._source = _tokens(pieces, request.sampling.ignore_eos)

    def look_ahead(self, sequence: Sequence) -> None:
        """After a token was played: let the next ones come by themselves, but for the last that there is leave for."""
        first = sequence.output
        self.reach = max(first, sequence.granted - 1)
        self.ahead = self.texts[first : self.reach]
        self.ahead.reverse()

    def count(self, output: int) -> int:
        """How many were played. Until the sequence is looked after again, no token comes by itself."""
        self.reach -= len(self.ahead)
        self.ahead = []
        return self.reach

    def known(self, output: int) -> int:
        """How many tokens can be played after `output` have been, working out more where they run out."""
        if output >= len(self.ids) and self.reason is None:
            if self._unstoppable:
                self._build_plain()
            else:
                self._build()
            if self.reason is not None:
                self.end = len(self.ids)
        return int(min(len(self.ids), self.fault_at))

    def _build(self) -> None:
        for token, text in islice(self._source, AHEAD):
            self._texts.next = text
            last = len(self.ids) + 1 == self._message_tokens
            self.texts.append(self.push_last(token) if last else self.push(token))
            self.ids.append(token)
            if self.reason is not None:
                return

    def _build_plain(self) -> None:
        """The same for a reply that only its source or its length ends."""
        for token, text in islice(self._source, min(AHEAD, self._max_output - len(self.ids))):
            self.ids.append(token)
            self.texts.append(text)
        if len(self.ids) == self._message_tokens:
            self.reason = FinishReason.STOP
        elif len(self.ids) == self._max_output:
            self.reason = FinishReason.LENGTH


def _tokens(pieces: Items[str], again: bool) -> Iterator[tuple[int, str]]:
    """The tokens of a message, over and over if `again`; a message without any is the end of a turn."""
    message = [token_of(piece) for piece in pieces] or [(END_OF_TURN, "")]
    yield from message
    while again:
        yield from message
