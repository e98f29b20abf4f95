"""What a request's sequence starts with."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from engine.request import Draft, EngineError, Finished, FinishReason, Usage
from engine.sequence import Phase
from tests.engine.test_scheduler import ENDLESS, Bench


def test_seeds_are_drawn_for_who_has_none() -> None:
    bench = Bench()
    sampling = replace(ENDLESS, seed=None)
    drawn = [bench.submit(id, 3, sampling).seed for id in "ab"]
    assert drawn[0] != drawn[1]
    assert bench.submit("c", 3, replace(sampling, seed=5)).seed == 5
    assert 0 <= bench.submit("d", 3, replace(sampling, seed=-1)).seed < 1 << 63


def test_a_request_has_its_time_limits_from_when_it_came() -> None:
    bench = Bench()
    bench.now = 10.0
    limited = bench.submit("a", 3, first_token_timeout_s=2.0, total_timeout_s=5.0)
    assert (limited.submitted, limited.first_token_deadline, limited.deadline) == (10.0, 12.0, 15.0)
    free = bench.submit("b", 3, first_token_timeout_s=None, total_timeout_s=None)
    assert free.next_deadline() == math.inf


def test_a_new_sequence_waits_with_its_prompt_before_it() -> None:
    sequence = Bench().submit("a", [1, 2, 3])
    assert sequence.phase is Phase.WAITING
    assert (sequence.context, sequence.remaining, sequence.draft) == ([1, 2, 3], 3, False)


def test_tiers_have_ranks() -> None:
    bench = Bench()
    ranks = [
        bench.submit(tier, 3, service_tier=tier).rank for tier in ("priority", "auto", "default", "flex")
    ]
    assert ranks == [0, 1, 1, 2]


def test_a_draft_says_nothing_and_lasts_as_long_as_pages_are_pinned() -> None:
    bench = Bench(pin_s=30.0)
    sequence = bench.scheduler.prepare_draft(Draft("d", [1, 2], "salt"), now=1.0)
    assert sequence.draft
    assert sequence.request.prefill_only
    assert (sequence.request.salt, sequence.max_output, sequence.deadline) == ("salt", 0, 31.0)
    sequence.deliver(Finished(FinishReason.STOP, Usage(0, 0, 0)))
    assert bench.heard == {}


def test_a_draft_past_the_context_is_refused() -> None:
    with pytest.raises(EngineError) as refused:
        Bench(context=8).scheduler.prepare_draft(Draft("d", [1] * 9), now=0.0)
    assert refused.value.code == "context_length_exceeded"
