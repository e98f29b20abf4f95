"""A Mover whose copies beside the steps are made at any time, one by one, in their order."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from engine.moves import Moves

Cells: TypeAlias = list[list[object]]


class FitfulMover:
    """Between the pages of `cells` and its own. `progress` makes some of the copies that were sent."""

    page_bytes = 1 << 10

    def __init__(self, cells: Cells, pages: int, chance: random.Random) -> None:
        self.pages = pages
        self.host: Cells = [[None] * len(cells[0]) for _ in range(pages)]
        self.fails = 0.0  # how likely
        self.meanwhile: Callable[[], None] = lambda: None
        self._cells = cells
        self._chance = chance
        self._haste = chance.choice([0.0, 0.3, 1.0])  # how likely it goes on
        self.failures = 0
        self._failed = False  # and nobody knows yet
        self._todo: deque[tuple[_Batch, Callable[[], None]]] = deque()

    def send(self, moves: Moves) -> _Batch:
        batch, copies, self._failed = _Batch(self), self._copies(moves), False
        if self._chance.random() < self.fails:
            for copy in copies[: self._chance.randint(0, len(copies))]:
                copy()
            self._failed = True
            self.failures += 1
            raise RuntimeError("no way")
        for page, host in moves.at_once:
            self.host[host] = list(self._cells[page])
        self._todo += [(batch, copy) for copy in copies]
        self.meanwhile()
        self.progress()
        return batch

    def progress(self) -> None:
        while self._todo and self._chance.random() < self._haste:
            self._todo.popleft()[1]()

    def carry_out(self, batch: _Batch) -> None:
        if not self._failed:
            self.meanwhile()
        while self.is_underway(batch):
            self._todo.popleft()[1]()

    def is_underway(self, batch: _Batch) -> bool:
        return any(other is batch for other, _ in self._todo)

    def _copies(self, moves: Moves) -> list[Callable[[], None]]:
        here, there = self._cells, self.host
        return [
            *(_copy(here, page, there, host) for page, host in moves.out),
            *(_copy(there, host, here, page) for host, page in moves.back),
            *(_copy(here, source, here, target) for source, target in moves.copies),
        ]


class _Batch:
    def __init__(self, mover: FitfulMover) -> None:
        self._mover = mover

    def query(self) -> bool:
        self._mover.progress()
        return not self._mover.is_underway(self)

    def synchronize(self) -> None:
        self._mover.carry_out(self)


def _copy(source: Cells, at: int, target: Cells, to: int) -> Callable[[], None]:
    def copy() -> None:
        target[to] = list(source[at])

    return copy
