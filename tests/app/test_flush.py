"""One flush a connection and turn of the event loop."""

from __future__ import annotations

import asyncio

import pytest

from app.flush import LOT, Flush

pytestmark = pytest.mark.anyio


class Marked:
    """Something to flush that may mark itself again, or fail."""

    def __init__(self, flush: Flush, *, again: int = 0, fault: Exception | None = None) -> None:
        self._flush = flush
        self._again = again
        self._fault = fault
        self.flushed = 0

    def flush(self) -> None:
        self.flushed += 1
        if self._fault is not None:
            raise self._fault
        if self.flushed <= self._again:
            self._flush.mark(self)


async def test_all_that_marked_themselves_are_flushed_once_at_the_end_of_the_turn() -> None:
    flush = Flush(asyncio.get_running_loop())
    marked = [Marked(flush) for _ in range(3)]
    for one in marked:
        flush.mark(one)
    assert [one.flushed for one in marked] == [0, 0, 0]
    await asyncio.sleep(0)
    assert [one.flushed for one in marked] == [1, 1, 1]
    await asyncio.sleep(0)
    assert [one.flushed for one in marked] == [1, 1, 1]


async def test_a_full_lot_is_flushed_before_the_turn_ends_and_the_rest_at_its_end() -> None:
    flush = Flush(asyncio.get_running_loop())
    marked = [Marked(flush) for _ in range(LOT + 2)]
    for one in marked:
        flush.mark(one)
    assert [one.flushed for one in marked] == [1] * LOT + [0] * 2
    flush.mark(marked[0])
    await asyncio.sleep(0)
    assert [one.flushed for one in marked] == [2] + [1] * (LOT + 1)
    await asyncio.sleep(0)
    assert [one.flushed for one in marked] == [2] + [1] * (LOT + 1)


async def test_who_marks_itself_while_it_is_flushed_comes_again_in_the_next_turn() -> None:
    flush = Flush(asyncio.get_running_loop())
    one = Marked(flush, again=2)
    flush.mark(one)
    counts = []
    for _ in range(4):
        await asyncio.sleep(0)
        counts.append(one.flushed)
    assert counts == [1, 2, 3, 3]


async def test_a_flush_that_fails_keeps_no_neighbour_from_its_own(caplog: pytest.LogCaptureFixture) -> None:
    flush = Flush(asyncio.get_running_loop())
    marked = [Marked(flush), Marked(flush, fault=OSError("the socket is gone")), Marked(flush)]
    for one in marked:
        flush.mark(one)
    await asyncio.sleep(0)
    assert [one.flushed for one in marked] == [1, 1, 1]
    assert "flush failed" in caplog.text
