"""How many tokens of each reply are guessed in a step: as many as let the engine say more in the same time.

A guess is computed beside the reply's own token, in the same step; where it is what the model says anyway, the reply is
a token further. Pure: times are arguments.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence as Items
from typing import Final

from engine.lookup import Lookup
from engine.sequence import Sequence
from engine.step_cost import StepCost

STRETCH: Final = 1.5
"""How much slower guesses may make any reply of a step, over what it is without: some of them gain nothing."""
WORTH: Final = 1.1
"""How much more a guess must say for its time than what is computed anyway: what it costs is an estimate."""


class Speculation:
    """Chooses by what guesses are worth: how likely they are right, and what a token more makes a step take."""

    def __init__(self, most: int) -> None:
        """`most`: guesses of one reply in a step; 0 for none ever."""
        self.most = most
        self._cost = StepCost()

    def __repr__(self) -> str:
        return f"<Speculation most={self.most} {self._cost}>"

    def begin(self, sequence: Sequence) -> None:
        """The sequence has its prompt computed. One that changes its logits by what it says is never guessed at."""
        if self.most and sequence.lookup is None and sequence.reply.shaping is None:
            sequence.lookup = Lookup([*sequence.prompt, *sequence.tokens], sequence.max_output)

    def learn(self, tokens: int, step_s: float) -> None:
        """A step of so many tokens, each of a reply or a guess, took so long."""
        self._cost.learn(tokens, step_s)

    def share(self, lookups: Items[Lookup | None]) -> list[int]:
        """How many guesses each of a step's replies gets.

        The likeliest guess first, as long as it says more for its time than all before it, and as long as no reply says
        much less in the same time than it would without.
        """
        if not lookups or not self._cost.known:
            return [0] * len(lookups)
        plain_s = self._cost.of(len(lookups))
        counts, said, step_s = self._allot(lookups, math.inf)
        if step_s > STRETCH * plain_s * min(said):
            counts, _, _ = self._allot(lookups, STRETCH * plain_s)
        return counts

    def _allot(self, lookups: Items[Lookup | None], longest_s: float) -> tuple[list[int], list[float], float]:
        """Guesses of each reply, how many tokens it then says, as far as is known, and what the step takes."""
        counts, said = [0] * len(lookups), [1.0] * len(lookups)
        step_s, token_s, total = self._cost.of(len(lookups)), self._cost.token_s, float(len(lookups))
        heap = [(-lookup.rate(0), place) for place, lookup in enumerate(lookups) if lookup is not None]
        heapq.heapify(heap)
        while heap and step_s + token_s <= longest_s:
            chance, place = -heap[0][0], heap[0][1]
            if chance * step_s <= WORTH * token_s * total:
                break
            counts[place] += 1
            said[place], total, step_s = said[place] + chance, total + chance, step_s + token_s
            lookup = lookups[place]
            assert lookup is not None
            further = chance * lookup.rate(counts[place]) if counts[place] < self.most else 0.0
            heapq.heapreplace(heap, (-further, place))
        return counts, said, step_s
