"""Moves of pages by batches: the one that is being put together, and those on their way. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engine.moves import Moves, Pair
from engine.pages import Pages


@dataclass(slots=True)
class Batch:
    """A step's moves. Pages of `held` belong to nobody else before they have ended."""

    number: int  # from 1 on
    moves: Moves = field(default_factory=Moves)
    held: list[list[int]] = field(default_factory=list)  # a lease's each, ancestors first

    @property
    def hosts(self) -> list[int]:
        """The host's pages that are read or written."""
        return [host for _, host in self.moves.out] + [host for host, _ in self.moves.back]


class Transit:
    """Batches land in the order of their numbers."""

    def __init__(self, pages: Pages) -> None:
        self.planned = Batch(1)
        self.landed = 0  # the number of the last that did
        self._pages = pages
        self._sent: deque[Batch] = deque()
        self.arriving: dict[int, int] = {}  # pages without their content yet, and the batch that brings it

    def leave(self, page: int, host: int, at_once: bool) -> None:
        moves = self.planned.moves
        (moves.at_once if at_once else moves.out).append((page, host))

    def bring(self, host: int, page: int) -> None:
        self.planned.moves.back.append((host, page))
        self.arriving[page] = self.planned.number

    def join(self, pages: Sequence[int], copy: Pair | None, moved: int) -> tuple[int, Pair | None]:
        """Which batch a lease of these pages waits for, 0: none; and its copy, if that is for the step to do.

        `moved`: how many pages were to leave before the lease was opened. If pages of its own move, all of them are
        held until that has ended, whoever gives them up, and the copy is one of the moves: its target may still have to
        leave, or its source to arrive.
        """
        batch = self.planned
        involved = [*pages, *([] if copy is None else copy[:1])]
        waits = max(self.arriving.get(page, 0) for page in involved)
        if (
            len(batch.moves.out) == moved
            and waits < batch.number
            and not (copy and (waits or self._clears(copy[1])))
        ):
            return waits, copy
        if copy is not None:
            batch.moves.copies.append(copy)
        self._pages.hold_all(involved)
        batch.held.append(involved)
        return batch.number, None

    def take(self) -> Moves:
        """What was planned, to be sent at once."""
        batch = self.planned
        if batch.moves.beside:
            self._sent.append(batch)
            self.planned = Batch(batch.number + 1)
        else:
            self.planned = Batch(batch.number)
        return batch.moves

    def land(self, number: int) -> Iterator[Batch]:
        """Those up to this one that were on their way have ended."""
        while self._sent and self._sent[0].number <= number:
            batch = self._sent.popleft()
            self.landed = batch.number
            for _, page in batch.moves.back:
                del self.arriving[page]
            for pages in reversed(batch.held):
                self._pages.drop_all(pages)
            yield batch

    def _clears(self, page: int) -> bool:
        """Whether its content has to leave before the step."""
        return any(page == leaving for leaving, _ in self.planned.moves.at_once)
