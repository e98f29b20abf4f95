"""How long requests wait, are read and speak, and how much a step computes: histograms, counted a step at a time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence as Items
from typing import Final

from engine.interface import Spread
from engine.sequence import Sequence

_PHASE_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(30.0, 60.0, 120.0, 300.0, 600.0, 1800.0),
)
"""From a prompt that was in the cache to a reply that takes all of a long context on a CPU."""
_GAP_S: Final = (
    *(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1),
    *(0.15, 0.25, 0.5, 1.0, 2.5, 10.0),
)
"""From a GPU's step for one small model to a preemption."""
_STEP_TOKENS: Final = tuple(1 << power for power in range(15))  # 1 to 16,384


class Tally:
    """Counts values by the first bound that they do not exceed; the last place is for those above all bounds."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def spread(self) -> Spread:
        return Spread(self._bounds, tuple(self._counts), self._sum)


class Times:
    """What an engine's sequences took. The clock's readings are arguments, and later ones are never less."""

    def __init__(self) -> None:
        self._queue = Tally(_PHASE_S)
        self._prefill = Tally(_PHASE_S)
        self._decode = Tally(_PHASE_S)
        self._inference = Tally(_PHASE_S)
        self._gap = Tally(_GAP_S)
        self._mean_gap = Tally(_GAP_S)
        self._step_tokens = Tally(_STEP_TOKENS)

    def stepped(self, tokens: int) -> None:
        """A step had so many."""
        if tokens:
            self._step_tokens.add(tokens)

    def started(self, sequence: Sequence, now: float) -> None:
        """It got its first pages."""
        sequence.started_at = now
        self._queue.add(now - sequence.submitted)

    def spoke(self, sequences: Items[Sequence], now: float) -> None:
        """A step gave each of them a token, or several at once."""
        before: float | None = (
            None  # when those that are counted together had their last one: most in one step
        )
        replies = 0
        for sequence in sequences:
            if sequence.last_token != before:
                self._spoke_together(before, replies, now)
                before, replies = sequence.last_token, 0
            if before is None:
                self._first(sequence, now)
            replies += 1
            sequence.last_token = now
        self._spoke_together(before, replies, now)

    def played(self, sequence: Sequence, output: int, now: float) -> None:
        """Its token number `output` came, those before it by themselves: their gaps count as the mean of them."""
        if sequence.last_token is None:
            self._first(sequence, now)
        elif new := output - sequence.timed:
            self._gap.add((now - sequence.last_token) / new, new)
        sequence.last_token, sequence.timed = now, output

    def ended(self, sequence: Sequence) -> None:
        """Its last token has come, if there was any."""
        if sequence.last_token is None:
            return
        decode_s = sequence.last_token - sequence.first_token
        self._decode.add(decode_s)
        self._inference.add(sequence.last_token - sequence.started_at)
        if (tokens := sequence.timed or sequence.output) > 1:
            self._mean_gap.add(decode_s / (tokens - 1))

    def spreads(self) -> dict[str, Spread]:
        """By what they are of; in seconds but for `step_tokens`."""
        return {
            "queue": self._queue.spread(),
            "prefill": self._prefill.spread(),
            "decode": self._decode.spread(),
            "inference": self._inference.spread(),
            "gap": self._gap.spread(),
            "mean_gap": self._mean_gap.spread(),
            "step_tokens": self._step_tokens.spread(),
        }

    def _spoke_together(self, before: float | None, replies: int, now: float) -> None:
        if before is not None:
            self._gap.add(now - before, replies)

    def _first(self, sequence: Sequence, now: float) -> None:
        sequence.first_token = now
        self._prefill.add(now - sequence.started_at)
