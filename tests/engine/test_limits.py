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
        limits.check(request(tokens, prefill_only=prefill_only), 0)
        return
    with pytest.raises(EngineError, match=rf"{tokens} tokens.* 8 tokens") as refused:
        limits.check(request(tokens, prefill_only=prefill_only), 0)
    assert refused.value.code == "context_length_exceeded"


def test_the_bound_counts_running_and_waiting() -> None:
    limits = Limits(8, max_running=2, max_waiting=1)
    limits.check(request(1), 2)
    with pytest.raises(EngineError) as refused:
        limits.check(request(1), 3)
    assert refused.value.code == "server_is_overloaded"


def test_the_room_for_a_reply() -> None:
    limits = Limits(8, step_tokens=3)
    assert limits.max_output(request(5)) == 3
    assert limits.max_output(request(5, max_tokens=2)) == 2
    assert limits.max_output(request(5, max_tokens=20)) == 3
    assert limits.max_output(request(5, prefill_only=True)) == 0
    assert limits.min_chunk_tokens == 1
