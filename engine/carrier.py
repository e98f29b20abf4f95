"""Moves of pages that were sent, and which of them have ended."""

from __future__ import annotations

from collections import deque

from engine.moves import Mover, Moves, Underway


class Carrier:
    """Sends the batches of moves that a pool numbers from 1 on."""

    def __init__(self, mover: Mover | None) -> None:
        self._mover = mover
        self._underway: deque[Underway] = deque()
        self._ended = 0

    def __bool__(self) -> bool:
        """Whether anything is on its way."""
        return bool(self._underway)

    def send(self, moves: Moves) -> None:
        """Returns at once. If it raises, what was sent before has ended, and the batch counts as ended too."""
        assert self._mover is not None
        try:
            underway = self._mover.send(moves)
        except Exception:
            self.wait()
            self._ended += moves.beside
            raise
        if moves.beside:
            self._underway.append(underway)

    def ended(self) -> int:
        """The number of the last batch of which nothing is on its way any more."""
        while self._underway and self._underway[0].query():
            self._underway.popleft()
            self._ended += 1
        return self._ended

    def wait(self) -> None:
        """Until all have ended."""
        if self._underway:
            self._underway[-1].synchronize()
            self._ended += len(self._underway)
            self._underway.clear()
