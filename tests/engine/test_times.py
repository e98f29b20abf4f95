"""What is known of how long requests waited, were read and spoke."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.interface import Spread
from engine.times import Tally
from tests.engine.test_scheduler import ENDLESS, Bench


def spread(bench: Bench, name: str) -> Spread:
    return bench.scheduler.stats().spreads[name]


def seen(bench: Bench, name: str) -> tuple[int, float]:
    """How many values there were, and their sum."""
    found = spread(bench, name)
    return sum(found.counts), pytest.approx(found.sum)


@given(st.lists(st.floats(0, 9)))
def test_a_value_counts_at_the_first_bound_that_it_does_not_exceed(values: list[float]) -> None:
    bounds = (1.0, 2.5, 7.0)
    tally = Tally(bounds)
    for value in values:
        tally.add(value)
    edges = pairwise((-1.0, *bounds, 9.0))
    expected = tuple(sum(low < value <= high for value in values) for low, high in edges)
    assert tally.spread() == Spread(bounds, expected, pytest.approx(sum(values)))


def test_each_part_of_a_request_has_its_time() -> None:
    bench = Bench(step_tokens=8, max_running=1)
    bench.submit("a", 12, replace(ENDLESS, max_tokens=3))
    bench.now = 2.0
    bench.step()  # eight of its prompt's tokens
    bench.now = 2.5
    bench.step()  # the others, and its first token
    bench.now = 2.6
    bench.step()
    bench.now = 2.9
    bench.step()
    assert bench.end("a").usage.output == 3
    assert seen(bench, "queue") == (1, 2.0)
    assert seen(bench, "prefill") == (1, 0.5)
    assert seen(bench, "decode") == (1, 0.4)
    assert seen(bench, "inference") == (1, 0.9)
    assert seen(bench, "gap") == (2, 0.4)
    assert seen(bench, "mean_gap") == (1, 0.2)
    assert seen(bench, "step_tokens") == (4, 8 + 5 + 1 + 1)


def test_the_gaps_of_a_batch_are_each_replys_own() -> None:
    bench = Bench()
    bench.submit("a", 4, replace(ENDLESS, max_tokens=3))
    bench.step()
    bench.now = 1.0
    bench.submit("b", 4, replace(ENDLESS, max_tokens=2))
    bench.step()  # b's first token: no gap
    bench.now = 1.0625
    bench.step()
    gaps = spread(bench, "gap")
    assert {bound: n for bound, n in zip(gaps.bounds, gaps.counts, strict=False) if n} == {0.075: 2, 1.0: 1}
    assert seen(bench, "step_tokens") == (3, 5 + 6 + 2)


def test_a_reply_of_one_token_has_no_time_between_tokens() -> None:
    bench = Bench()
    bench.submit("a", 4, replace(ENDLESS, max_tokens=1))
    bench.step()
    assert seen(bench, "decode") == (1, 0.0)
    assert seen(bench, "gap") == seen(bench, "mean_gap") == (0, 0.0)


def test_who_leaves_before_a_word_has_waited_only() -> None:
    bench = Bench(max_running=1)
    bench.submit("a", 4)
    bench.step()
    bench.submit("b", 4)
    bench.step()
    bench.scheduler.cancel("b")
    assert seen(bench, "queue") == (1, 0.0)
    bench.submit("c", 4, prefill_only=True)
    bench.scheduler.cancel("a")
    bench.now = 3.0
    bench.step()
    assert seen(bench, "queue") == (2, 3.0)
    assert seen(bench, "prefill") == seen(bench, "inference") == (1, 0.0), "a's"


def test_a_preempted_reply_waits_for_its_next_token() -> None:
    bench = Bench(pages=4, context=16)
    bench.submit("a", 4, replace(ENDLESS, max_tokens=8))
    bench.submit("b", 4, replace(ENDLESS, max_tokens=8))
    while not bench.scheduler.stats().preemptions:
        bench.step()
    before = seen(bench, "gap")[0]
    bench.scheduler.cancel("a")
    bench.now = 5.0
    bench.step()
    assert seen(bench, "gap") == (before + 1, 5.0)
    assert seen(bench, "queue") == (2, 0.0), "the first time counts"
    bench.run()
    assert bench.scheduler.stats().preemptions == 1
