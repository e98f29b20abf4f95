"""A Runner whose keys and values are the tokens themselves: it reads them back through the page tables."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from zlib import crc32

from engine.adapters.adapter import Adapter
from engine.batch import Result, Row, agreed
from tests.engine.late_mover import LateMover

VOCABULARY = 96
EOS = 0


class PagedRunner:
    """The next token is a hash of everything the pages say the sequence is, so a wrong page changes the text, and so
    does one that was computed with another adapter.

    `fault` may raise for a whole step, or return an exception for a row.
    """

    def __init__(self, pages_total: int, page_tokens: int, context_tokens: int, host_pages: int = 0) -> None:
        self.pages_total = pages_total
        self.page_tokens = page_tokens
        self.context_tokens = context_tokens
        self.ahead = 0
        self.fault: Callable[[Sequence[Row]], None] = lambda rows: None
        self.row_fault: Callable[[Row], Exception | None] = lambda row: None
        self.copy_fault: Callable[[int, int], None] = lambda source, target: None
        self.closed = 0
        self.forgotten: list[Adapter] = []
        self.threads: set[int] = set()
        self.steps: list[list[tuple[int, int, bool]]] = []  # (start, tokens, sample) of each row
        self._cells = [[-1] * page_tokens for _ in range(pages_total)]
        self.mover = LateMover(self._cells, host_pages) if host_pages else None

    def step(self, rows: Sequence[Row]) -> list[Result]:
        self.threads.add(threading.get_ident())
        self.fault(rows)
        assert rows
        self.steps.append([(row.start, len(row.tokens), row.sample) for row in rows])
        written = [self._write(row) for row in rows]
        assert len(set().union(*written)) == sum(map(len, written)), "two rows write to one cell"
        return [self.row_fault(row) or self._next(row) for row in rows]

    def copy_page(self, source: int, target: int) -> None:
        self.copy_fault(source, target)
        self._cells[target] = list(self._cells[source])

    def forget_adapter(self, adapter: Adapter) -> None:
        self.forgotten.append(adapter)

    def close(self) -> None:
        self.closed += 1

    def _write(self, row: Row) -> set[tuple[int, int]]:
        cells = set()
        for position, token in enumerate(row.tokens, row.start):
            page, offset = row.pages[position // self.page_tokens], position % self.page_tokens
            self._cells[page][offset] = _keys_of(token, row.adapter)
            cells.add((page, offset))
        return cells

    def _next(self, row: Row) -> Result:
        if not row.sample:
            return None
        end = row.start + len(row.tokens)
        if row.guesses:
            return agreed(row, [self._behind(row, end - back) for back in range(row.guesses, -1, -1)])
        return self._behind(row, end)

    def _behind(self, row: Row, end: int) -> int:
        """What follows the first `end` tokens."""
        size = self.page_tokens
        seen = [self._cells[row.pages[p // size]][p % size] for p in range(end)]
        assert -1 not in seen, "a position was never written"
        seed = row.seed if row.sampling.temperature else 0
        return crc32(repr((seen, seed)).encode()) % VOCABULARY


def expected(prompt: Sequence[int], count: int, seed: int = 0) -> list[int]:
    """What the runner says to a prompt, without any pages; `seed` 0: greedily."""
    seen = list(prompt)
    for _ in range(count):
        seen.append(crc32(repr((seen, seed)).encode()) % VOCABULARY)
    return seen[len(prompt) :]


def _keys_of(token: int, adapter: Adapter | None) -> int:
    return token if adapter is None else crc32(f"{adapter.identity} {token}".encode())
