"""A Runner that writes down who computed what, and looks at all that a row stands on before it computes it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from engine.adapters.adapter import Adapter
from engine.batch import Result, Row, agreed
from tests.engine.fitful_mover import Cells, FitfulMover

EOS = 0
Written: TypeAlias = list[tuple[str, int]]
"""Of each position: the cache salt that it was computed for, and its token."""


class Wrong(BaseException):
    """An assertion that did not hold where an engine catches exceptions."""


@contextmanager
def surely() -> Iterator[None]:
    try:
        yield
    except AssertionError as fault:
        raise Wrong(str(fault)) from fault


class WrittenRunner:
    """What follows depends on few tokens, so that replies meet again and again, and guesses are right now and then.

    Rows whose replies go on are computed `ahead` tokens too far, as a GPU does.
    """

    def __init__(
        self,
        pages_total: int,
        page_tokens: int,
        context_tokens: int,
        host_pages: int,
        ahead: int,
        chance: random.Random,
    ) -> None:
        self.pages_total = pages_total
        self.page_tokens = page_tokens
        self.context_tokens = context_tokens
        self.ahead = ahead
        self.cells: Cells = [[None] * page_tokens for _ in range(pages_total)]
        self.mover = FitfulMover(self.cells, host_pages, chance) if host_pages else None
        self.written: Callable[[Row], Written] = lambda row: []  # what a row's sequence consists of
        self.meanwhile: Callable[[], None] = lambda: None  # while the device is at work
        self.fails = 0.0  # how likely each row does, and each step
        self._chance = chance
        self._again = 0  # rows of a step that failed, which are computed one by one

    def step(self, rows: Sequence[Row]) -> list[Result]:
        written = [self.written(row) for row in rows]
        if self._again:
            self._again -= 1
        else:
            self.meanwhile()
        if self._unlucky():
            self._again = len(rows) if len(rows) > 1 else 0
            raise RuntimeError("the device is away")
        with surely():
            touched = [self._compute(row, ids) for row, ids in zip(rows, written, strict=True)]
            assert len(set().union(*touched)) == sum(map(len, touched)), "two rows write to one cell"
        return [
            ValueError() if self._unlucky() else self._result(row, [token for _, token in ids])
            for row, ids in zip(rows, written, strict=True)
        ]

    def copy_page(self, source: int, target: int) -> None:
        self.meanwhile()
        if self._unlucky():
            raise RuntimeError("no copy")
        self.cells[target] = list(self.cells[source])

    def forget_adapter(self, adapter: Adapter) -> None:
        """It keeps none."""

    def close(self) -> None:
        """It has nothing."""

    def _unlucky(self) -> bool:
        return self._chance.random() < self.fails

    def _compute(self, row: Row, ids: Written) -> set[tuple[int, int]]:
        """The cells it writes to."""
        places = [divmod(position, self.page_tokens) for position in range(len(row.pages) * self.page_tokens)]
        cells = [(row.pages[page], offset) for page, offset in places]
        before = [self.cells[page][offset] for page, offset in cells[: row.start]]
        assert before == ids[: row.start], "a row stands on what was computed for its tokens"
        end = row.start + len(row.tokens)
        salt = ids[0][0]
        touched = cells[row.start : end]
        for (page, offset), token in zip(touched, row.tokens, strict=True):
            self.cells[page][offset] = (salt, token)
        if row.sample and len(row.tokens) == 1:
            for page, offset in cells[end : end + self.ahead]:
                self.cells[page][offset] = "too far"
            touched = cells[row.start : end + self.ahead]
        return set(touched)

    def _result(self, row: Row, ids: list[int]) -> Result:
        if not row.sample:
            return None
        ids = [*ids[: row.start], *row.tokens]
        if row.guesses:
            return agreed(row, [following(ids[: len(ids) - back]) for back in range(row.guesses, -1, -1)])
        return following(ids)


def following(ids: Sequence[int]) -> int:
    return (5 * ids[-1] + 3 * ids[-2 % len(ids)] + len(ids) // 5) % 4


def reply_to(prompt: Sequence[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        ids.append(following(ids))
    return ids[len(prompt) :]
