"""Guesses at random: some are right."""

from __future__ import annotations

import random
from collections.abc import Callable
from collections.abc import Sequence as Items
from typing import TypeAlias

from engine.lookup import Lookup
from engine.sequence import Sequence
from engine.speculation import Speculation
from tests.engine.paged_runner import expected

MOST = 6
Says: TypeAlias = Callable[[Sequence, Items[int], int], list[int]]
"""What a sequence that has these ids says next, so many tokens."""


def as_paged(sequence: Sequence, ids: Items[int], count: int) -> list[int]:
    """As `PagedRunner` makes it say."""
    return expected(ids, count, sequence.seed if sequence.request.sampling.temperature else 0)


class Guessing(Speculation):
    """As many guesses as it happens, whatever they cost."""

    def __init__(self, chance: random.Random, right: float = 0.8, says: Says = as_paged) -> None:
        super().__init__(MOST)
        self._chance, self._right, self._says = chance, right, says

    def begin(self, sequence: Sequence) -> None:
        super().begin(sequence)
        if sequence.lookup is not None:
            sequence.lookup = _Knowing(sequence, self._chance, self._right, self._says)

    def share(self, lookups: Items[Lookup | None]) -> list[int]:
        return [self._chance.randint(0, MOST) if lookup is not None else 0 for lookup in lookups]


class _Knowing(Lookup):
    """Knows what comes, and is mistaken now and then."""

    def __init__(self, sequence: Sequence, chance: random.Random, right: float, says: Says) -> None:
        super().__init__([*sequence.prompt, *sequence.tokens], sequence.max_output)
        self._sequence, self._chance, self._share, self._says = sequence, chance, right, says

    def guess(self, count: int) -> list[int]:
        coming = self._says(self._sequence, self._ids, count)
        return [token if self._chance.random() < self._share else 1 + token % 90 for token in coming]
