"""Thousands of random actions: every page is in its place after each, and every reply is what it would be alone."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.engine.pool_life import Life

LIVES = 60
ACTIONS = 150


@pytest.mark.parametrize("host", [False, True])
def test_no_page_is_lost_or_shared_wrongly(host: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    seen: Counter[str] = Counter()
    for seed in range(LIVES):
        life = Life(seed, host)
        for _ in range(ACTIONS):
            life.act()
        life.finish()
        seen.update(life.seen())
    assert seen["cached"] > 10 * LIVES, "the cache was of use"
    assert seen["evictions"] > 10 * LIVES, "and was full"
    assert LIVES < seen["accepted"] < 0.8 * seen["guessed"], "guesses were right and wrong"
    ends = [count for name, count in seen.items() if name.startswith("finished")]
    assert min(ends) > LIVES / 2, "replies ended in every way"
    assert seen["preempted"] > LIVES / 2
    assert seen["stood in"] > LIVES
    if host:
        assert min(seen["moved out"], seen["moved back"]) > LIVES, "pages came back"
        assert seen["moves failed"] > LIVES / 4
