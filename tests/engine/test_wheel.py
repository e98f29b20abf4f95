"""When a token is due, by the clock that is handed in."""

from __future__ import annotations

import pytest

from engine.playback import Playback
from engine.request import EngineRequest, Sampling
from engine.wheel import CATCH_UP_S, SLOT_S, Wheel


def playback() -> Playback:
    return Playback(EngineRequest("a", (1,), "", Sampling()), 10, ["a"], None)


def played(wheel: Wheel, until: float, step: float = SLOT_S / 2) -> int:
    """How many tokens come before `until`, of replies that are put back at once."""
    count = 0
    now = 0.0
    while now < until:
        for due in wheel.turn(now):
            count += 1
            wheel.again([due], now)
        now += step
    return count


@pytest.mark.parametrize("tokens_per_s", [1.0, 20.0, 100.0, 240.0])
def test_the_rate_holds_over_time(tokens_per_s: float) -> None:
    wheel = Wheel(1 / tokens_per_s)
    wheel.add(playback(), 0.0)
    assert played(wheel, 10.0) == pytest.approx(10 * tokens_per_s, abs=2)


def test_the_first_token_is_due_at_once_and_the_next_an_interval_later() -> None:
    wheel = Wheel(0.1)
    assert not wheel
    first = playback()
    wheel.add(first, 1.0)
    assert wheel
    assert first.on_wheel
    assert wheel.next_turn() <= 1.0
    assert wheel.turn(1.0) == [first]
    wheel.again([first], 1.0)
    assert wheel.turn(1.05) == []
    assert wheel.next_turn() == pytest.approx(1.1, abs=SLOT_S)
    assert wheel.turn(1.1) == [first]
    assert not wheel


def test_a_late_reply_makes_good_a_little_and_no_more() -> None:
    wheel = Wheel(0.01)
    late = playback()
    wheel.add(late, 0.0)
    assert wheel.turn(5.0) == [late]
    wheel.again([late], 5.0)
    assert late.due_s == 5.0 - CATCH_UP_S


def test_without_an_interval_a_token_is_due_in_every_turn() -> None:
    wheel = Wheel(0.0)
    both = [playback(), playback()]
    for one in both:
        wheel.add(one, 3.0)
    for _ in range(3):
        assert wheel.next_turn() <= 3.0
        assert wheel.turn(3.0) == both
        wheel.again(both, 3.0)
