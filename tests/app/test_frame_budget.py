"""Frames that say nothing: so many in a burst, so many a second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.frame_budget import AT_ONCE, PER_S, FrameBudget


def spent(budget: FrameBudget, now: float, frames: int) -> int:
    return sum(budget.spend(now) for _ in range(frames))


def test_a_burst_is_let_through_and_what_comes_behind_it_is_not() -> None:
    budget = FrameBudget(5.0)
    assert spent(budget, 5.0, AT_ONCE + 500) == AT_ONCE


def test_the_documented_rate_can_go_on_for_ever() -> None:
    budget = FrameBudget(0.0)
    assert all(spent(budget, float(second), PER_S) == PER_S for second in range(1, 60))


def test_twice_the_rate_ends_in_time() -> None:
    budget = FrameBudget(0.0)
    seconds = next(second for second in range(1, 60) if spent(budget, float(second), 2 * PER_S) < 2 * PER_S)
    assert seconds == AT_ONCE // PER_S


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 8_000)), max_size=12))
def test_never_more_than_a_burst_and_the_rate_since_the_beginning(steps: list[tuple[float, int]]) -> None:
    budget, now, total = FrameBudget(0.0), 0.0, 0
    for wait, frames in steps:
        now += wait
        total += spent(budget, now, frames)
        assert total <= AT_ONCE + PER_S * now + 1e-3
