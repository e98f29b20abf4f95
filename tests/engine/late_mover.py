"""A Mover whose copies beside the steps are made as late as they may be: what was wrongly touched meanwhile shows. And
one that makes them at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from engine.moves import Moves

Cells = list[list[int]]


class LateMover:
    """Between the pages of `cells` and its own. A batch has ended when `lands` says so, or when somebody waits."""

    page_bytes = 1 << 10

    def __init__(self, cells: Cells, pages: int, lands: Callable[[], bool] = lambda: True) -> None:
        self.pages = pages
        self.lands = lands
        self.fault: Callable[[], None] = lambda: None
        self.sent: list[Moves] = []
        self._cells = cells
        self._host: Cells = [[] for _ in range(pages)]
        self._underway: deque[_Batch] = deque()

    def send(self, moves: Moves) -> _Batch:
        self.fault()
        self.sent.append(moves)
        for page, host in moves.at_once:
            self._host[host] = list(self._cells[page])
        batch = _Batch(self, moves)
        self._underway.append(batch)
        return batch

    def carry_out(self, batch: _Batch) -> None:
        """This one and those before it."""
        while batch in self._underway:
            moves = self._underway.popleft().moves
            for page, host in moves.out:
                self._host[host] = list(self._cells[page])
            for host, page in moves.back:
                self._cells[page] = list(self._host[host])
            for source, target in moves.copies:
                self._cells[target] = list(self._cells[source])


class SoonMover(LateMover):
    """The copies are made as early as they may be."""

    def send(self, moves: Moves) -> _Batch:
        batch = super().send(moves)
        self.carry_out(batch)
        return batch


class _Batch:
    def __init__(self, mover: LateMover, moves: Moves) -> None:
        self.moves = moves
        self._mover = mover

    def query(self) -> bool:
        if self._mover.lands():
            self.synchronize()
            return True
        return False

    def synchronize(self) -> None:
        self._mover.carry_out(self)
