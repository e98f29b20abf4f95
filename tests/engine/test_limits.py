"""What is refused at the door, and with which words."""

from __future__ import annotations

import pytest

from engine.limits import Limits
from engine.request import EngineError, EngineRequest, Sampling


def request(tokens: int, *, prefill_only: bool = False, max_tokens: int | None = None) -> EngineRequest:
    return EngineRequest("a", range(tokens), "", Sampling(max_tokens=max_tokens), prefill_only=prefill_only)


def test_senseless_limits_are_refused_by_name() -> None:
    for name in ("context_tokens", "max_running", "step_tokens", "partial_prefills"):
        with pytest.raises(ValueError, match=name):
            Limits(**{"context_tokens": 8, name: 0})
    with pytest.raises(ValueError, match="max_waiting"):
        Limits(8, max_waiting=-1)
    with pytest.raises(ValueError, match="guesses"):
        Limits(8, guesses=-1)
    with pytest.raises(ValueError, match="gap_s"):
        Limits(8, gap_s=0.0)


@pytest.mark.parametrize(
    ("tokens", "prefill_only", "ok"), [(7, False, True), (8, False, False), (8, True, True), (9, True, False)]
)
def test_a_prompt_leaves_room_for_a_token(tokens: int, prefill_only: bool, ok: bool) -> None:
    limits = Limits(8)
    if ok:
        limits.check(request(tokens, prefill_only=prefill_only), 0, 0)
        return
    with pytest.raises(EngineError, match=rf"{tokens} tokens.* 8 tokens") as refused:
        limits.check(request(tokens, prefill_only=prefill_only), 0, 0)
    assert refused.value.code == "context_length_exceeded"


def test_the_bound_counts_running_and_waiting() -> None:
    limits = Limits(8, max_running=2, max_waiting=1)
    limits.check(request(1), 2, 2)
    with pytest.raises(EngineError) as refused:
        limits.check(request(1), 3, 3)
    assert refused.value.code == "server_is_overloaded"


def test_the_room_for_a_reply() -> None:
    limits = Limits(8, step_tokens=3)
    assert limits.max_output(request(5)) == 3
    assert limits.max_output(request(5, max_tokens=2)) == 2
    assert limits.max_output(request(5, max_tokens=20)) == 3
    assert limits.max_output(request(5, prefill_only=True)) == 0
    assert limits.min_chunk_tokens == 1


def admitted(limits: Limits, live: int, own: int) -> bool:
    try:
        limits.check(request(1), live, own)
    except EngineError:
        return False
    return True


def flooded(limits: Limits, live: int) -> int:
    """How many requests a tenant that comes now gets in."""
    own = 0
    while admitted(limits, live + own, own):
        own += 1
    return own


@pytest.mark.parametrize("max_waiting", [1, 8, 256, 1280])
def test_a_tenant_alone_gets_nearly_all_of_the_queue(max_waiting: int) -> None:
    limits = Limits(8, max_running=32, max_waiting=max_waiting)
    waiting = flooded(limits, 0) - 32
    assert max_waiting * 7 / 8 <= waiting <= max_waiting


def test_no_flood_takes_the_last_place_from_a_tenant_that_has_none() -> None:
    limits = Limits(8, max_running=4, max_waiting=1024)
    live, shares = 0, []
    for _ in range(3):
        shares.append(flooded(limits, live))
        live += shares[-1]
        assert admitted(limits, live, 0)
    assert shares == sorted(shares, reverse=True)
    with pytest.raises(EngineError, match=r"the \d+ places that are left are for other tenants"):
        limits.check(request(1), live, shares[2])


@pytest.mark.parametrize("max_waiting", [2, 3, 4, 8, 9, 16, 64, 1280])
def test_the_last_place_is_for_a_tenant_that_has_none(max_waiting: int) -> None:
    limits = Limits(8, max_running=2, max_waiting=max_waiting)
    live, last = 0, 2 + max_waiting - 1
    while live < last:
        live += flooded(limits, live)
    assert live == last
    with pytest.raises(EngineError, match="the place that is left is for other tenants") as refused:
        limits.check(request(1), live, 1)
    assert refused.value.retry_after_s
    assert flooded(limits, live) == 1


def test_who_runs_much_may_still_wait() -> None:
    limits = Limits(8, max_running=32, max_waiting=64)
    assert admitted(limits, 40, 32)
    assert flooded(Limits(8, max_running=2, max_waiting=0), 0) == 2
