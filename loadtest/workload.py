"""Who says what and when (pure): a plan gives the scripts of each round, the same for every server.

A plan's seed is in all it says: a server that ran before has nothing of another seed in its cache.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from loadtest.turn import Ask
from loadtest.words import prose, question, recital, several

Task = Literal["ask", "repeat"]
"""What users want: an answer to a question, or a text said again word for word."""
RECITAL_WORDS: Final = 100
"""Of a text to repeat where no length is given: somewhat more than 128 tokens."""


@dataclass(frozen=True, slots=True)
class Script:
    """One chat: its lines, one after the other, the history kept."""

    lines: tuple[str, ...]
    ask: Ask
    begins_s: float | None = None  # an open arrival, so long after the round's start; None: when connected
    keys_per_s: float | None = None  # a line is typed at this pace before it is sent; None: it is there
    after_deltas: int = 0  # an intruder: it begins when every other script has had so many deltas

    def typed_s(self, line: str) -> float:
        return len(line) / self.keys_per_s if self.keys_per_s else 0.0


class Plan(Protocol):
    """A kind of load at one size."""

    @property
    def name(self) -> str: ...

    def scripts(self, round_: int) -> list[Script]: ...


@dataclass(frozen=True, slots=True)
class Closed:
    """So many users side by side, each asking again when the answer has ended."""

    streams: int
    turns: int
    ask: Ask
    seed: int
    opening_words: int = 0  # of prose before the first question: a chat about a text; of each text to repeat
    task: Task = "ask"

    @property
    def name(self) -> str:
        of = f", chats of {self.turns} turns" if self.turns > 1 else ""
        return f"{several(self.streams, 'stream')}{of}{_told(self.task)}"

    def scripts(self, round_: int) -> list[Script]:
        return [
            Script(
                _lines(f"{self.seed}.{round_}.{user}", user, self.turns, self.opening_words, self.task),
                self.ask,
            )
            for user in range(self.streams)
        ]


@dataclass(frozen=True, slots=True)
class Open:
    """Chats that arrive by chance, `rate_per_s` on average, whether or not earlier ones have ended."""

    rate_per_s: float
    chats: int
    turns: int
    ask: Ask
    seed: int
    opening_words: int = 0
    task: Task = "ask"

    @property
    def name(self) -> str:
        return f"{self.rate_per_s:g} chats/s arriving{_told(self.task)}"

    def scripts(self, round_: int) -> list[Script]:
        chance = random.Random(f"{self.seed}.{round_}")
        return [
            Script(
                _lines(f"{self.seed}.{round_}.{chat}", chat, self.turns, self.opening_words, self.task),
                self.ask,
                begins_s=begins_s,
            )
            for chat, begins_s in zip(range(self.chats), poisson(self.rate_per_s, chance), strict=False)
        ]


@dataclass(frozen=True, slots=True)
class Intrusion:
    """Running streams, then a long prompt."""

    streams: int
    long_words: int
    ask: Ask
    seed: int
    after_deltas: int = 16

    @property
    def name(self) -> str:
        return f"long prompt beside {several(self.streams, 'stream')}"

    def scripts(self, round_: int) -> list[Script]:
        running = Closed(self.streams, 1, self.ask, self.seed).scripts(round_)
        long = f"{prose(f'{self.seed}.{round_}.long', self.long_words)} What is this text about?"
        intruder = Script((long,), replace(self.ask, max_tokens=8), after_deltas=self.after_deltas)
        return [*running, intruder]


@dataclass(frozen=True, slots=True)
class Typing:
    """Users who type a text at human speed, and send it with the last key."""

    streams: int
    words: int
    keys_per_s: float
    ask: Ask
    seed: int

    @property
    def name(self) -> str:
        return f"{several(self.streams, 'user')} typing {self.words} words"

    def scripts(self, round_: int) -> list[Script]:
        return [
            Script((prose(f"{self.seed}.{round_}.{user}", self.words),), self.ask, keys_per_s=self.keys_per_s)
            for user in range(self.streams)
        ]


def poisson(rate_per_s: float, chance: random.Random) -> Iterator[float]:
    """Moments of arrival, in seconds, without end: the time between two is exponential."""
    at_s = 0.0
    while True:
        at_s += chance.expovariate(rate_per_s)
        yield at_s


def _lines(tag: str, place: int, turns: int, opening_words: int, task: Task) -> tuple[str, ...]:
    if task == "repeat":
        return tuple(recital(f"{tag}.{turn}", opening_words or RECITAL_WORDS) for turn in range(turns))
    lines = [question(f"{tag}.{turn}", place + turn) for turn in range(turns)]
    if opening_words:
        lines[0] = f"{prose(tag, opening_words)} {lines[0]}"
    return tuple(lines)


def _told(task: Task) -> str:
    return ", repeating a text" if task == "repeat" else ""
