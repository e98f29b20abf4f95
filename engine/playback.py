"""A reply that is known beforehand, cut into the deltas that a model's sampling would have given."""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass
from itertools import islice
from typing import Final

from engine.reply import Reply
from engine.request import ChatMessage, Delta, EngineError, EngineRequest
from engine.scripted_tokenizer import END_OF_TURN, text_id
from engine.sequence import Sequence

AHEAD: Final = 256
"""Deltas built at once: long replies neither stall a step nor fill the memory."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request: refused at submission, or failed or stalled after so many tokens."""

    after_tokens: int = 0
    error: Exception | None = (
        None  # without one the reply stalls: no token, no end, until a time limit or a cancel
    )
    refuse: EngineError | None = None


def echoed_text(source: tuple[ChatMessage, ...] | str) -> str:
    """The last user message (with none, the last message); a plain prompt as it is."""
    if isinstance(source, str):
        return source
    users = [message for message in source if message.role == "user"]
    return (users or source)[-1].content if source else ""


class _Texts:
    """The TextStream of a script: one text a token, whatever its id."""

    def __init__(self, pieces: Items[str]) -> None:
        self._pieces = pieces
        self._next = 0

    @property
    def holding(self) -> bool:
        return False

    def push(self, token: int) -> str:
        if token == END_OF_TURN:  # it was ignored: say it all again
            self._next = 0
            return ""
        self._next += 1
        return self._pieces[self._next - 1]

    def flush(self) -> str:
        return ""


class Playback(Reply):
    """One sequence's script: `deltas[n]` is what its token n gives; None while a stop string is undecided."""

    def __init__(
        self, request: EngineRequest, max_output: int, pieces: Items[str], fault: Fault | None
    ) -> None:
        super().__init__(_Texts(pieces), request.sampling, max_output, {END_OF_TURN})
        self.sequence: Sequence | None = None
        self.on_wheel = False
        self.due_s = 0.0  # when its next token should come
        self.ids: list[int] = []
        self.deltas: list[Delta | None] = []
        self.fault = fault
        self.fault_at: float = fault.after_tokens if fault else math.inf
        self._source = _tokens(pieces)

    def known(self, output: int) -> int:
        """How many tokens can be played after `output` have been, building more where they run out."""
        if output >= len(self.deltas) and self.reason is None:
            self._build()
        return int(min(len(self.deltas), self.fault_at))

    def unsent(self, output: int) -> tuple[int, ...]:
        first = output
        while first > 0 and self.deltas[first - 1] is None:
            first -= 1
        return tuple(self.ids[first:output])

    def _build(self) -> None:
        for token in islice(self._source, AHEAD):
            self.ids.append(token)
            self.deltas.append(self.push(token))
            if self.reason is not None:
                return


def _tokens(pieces: Items[str]) -> Iterator[int]:
    while True:
        yield from map(text_id, pieces)
        yield END_OF_TURN
