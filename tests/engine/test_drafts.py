"""Drafts in the steps of others: they take what is left, and give up what is wanted."""

from __future__ import annotations

from dataclasses import replace

from engine.request import Draft
from engine.sequence import Sequence
from tests.engine.test_scheduler import ENDLESS, PAGE, Bench, alone


def type_(bench: Bench, id: str, ids: list[int], salt: str = "") -> Sequence:
    sequence = bench.scheduler.prepare_draft(Draft(id, ids, salt), bench.now)
    bench.scheduler.enter_draft(sequence)
    return sequence


def test_a_draft_gets_what_replies_and_prompts_leave() -> None:
    bench = Bench(step_tokens=8)
    bench.submit("a", 4)
    bench.step()
    type_(bench, "draft", list(range(1, 21)))
    bench.submit("b", 10)
    assert bench.step() == [("a", 4, 1), ("b", 0, 7)]
    assert bench.step() == [("a", 5, 1), ("b", 7, 3), ("draft", 0, 4)]
    assert bench.step() == [("a", 6, 1), ("b", 10, 1), ("draft", 4, 6)]


def test_drafts_wait_while_requests_do() -> None:
    bench = Bench(max_running=1, step_tokens=16)
    bench.submit("a", 4, replace(ENDLESS, max_tokens=2))
    bench.submit("b", 4, replace(ENDLESS, max_tokens=2))
    type_(bench, "draft", [1, 2, 3])
    assert [id for id, _, _ in bench.step()] == ["a"]
    assert [id for id, _, _ in bench.step()] == ["a"]
    assert [id for id, _, _ in bench.step()] == ["b", "draft"]
    assert bench.heard.keys() == {"a", "b"}, "a draft says nothing"


def test_an_idle_engine_computes_drafts_and_then_rests() -> None:
    bench = Bench(step_tokens=8)
    type_(bench, "one", [1] * 12)
    type_(bench, "two", [2] * 6)
    assert bench.scheduler.busy
    assert bench.step() == [("one", 0, 8)]
    assert bench.step() == [("one", 8, 4), ("two", 0, 4)]
    assert bench.scheduler.busy
    assert bench.step() == [("two", 4, 2)]
    assert not bench.scheduler.busy
    assert (bench.pool.used, bench.pool.pinned) == (0, 5)
    assert bench.scheduler.stats().prompt_tokens == 0, "the hit rate is about what was asked"


def test_an_edit_while_the_draft_is_computed_goes_on_from_its_full_pages() -> None:
    bench = Bench(step_tokens=10)
    type_(bench, "draft", list(range(1, 30)))
    bench.step()
    type_(bench, "draft", [*range(1, 13), 50, 51])
    assert bench.step() == [("draft", 8, 6)]
    assert bench.pool.used == 0


def test_sending_a_draft_that_is_being_computed_ends_it() -> None:
    bench = Bench(step_tokens=10)
    draft = list(range(1, 30))
    type_(bench, "draft", draft)
    bench.step()
    bench.submit("sent", [*draft, 40], replace(ENDLESS, max_tokens=5), draft="draft")
    assert bench.step() == [("sent", 8, 10)]
    bench.run()
    assert bench.ids("sent") == alone([*draft, 40], replace(ENDLESS, max_tokens=5))
    assert bench.pool.used == bench.pool.pinned == 0


def test_a_draft_gives_its_pages_to_a_request_and_to_a_reply_that_grows() -> None:
    for prompt in (4 * PAGE, PAGE):
        bench = Bench(pages=4, context=16, step_tokens=8)
        draft = type_(bench, "draft", [1] * 12)
        bench.step()
        assert draft.lease is not None
        bench.submit("a", [9] * (prompt - 1), replace(ENDLESS, max_tokens=4 * PAGE - prompt + 1))
        bench.run()
        assert draft.lease is None
        assert bench.end("a").usage.output == 4 * PAGE - prompt + 1


def test_a_draft_that_finds_no_pages_is_dropped() -> None:
    bench = Bench(pages=4, context=16)
    bench.submit("a", 14)
    bench.step()
    type_(bench, "draft", [1] * 12)
    bench.step()
    assert len(bench.scheduler._drafts) == 0


def test_past_the_bound_the_oldest_draft_is_forgotten() -> None:
    bench = Bench(max_drafts=2)
    for id in "abc":
        type_(bench, id, [1, 2, 3])
    assert [id for id, _, _ in bench.step()] == ["b", "c"]


def test_a_draft_whose_time_is_up_is_not_computed_and_its_pages_are_not_kept() -> None:
    bench = Bench(max_running=1, pin_s=10.0, step_tokens=4)
    type_(bench, "draft", [1, 2, 3])
    bench.step()
    assert bench.pool.pinned == 1
    type_(bench, "late", [5] * 6)
    bench.step()
    bench.now = 10.0
    assert bench.step() == []
    assert (bench.pool.pinned, bench.pool.used) == (0, 0)
    assert not bench.scheduler.busy


def test_a_draft_that_fails_is_gone_and_harms_nobody() -> None:
    bench = Bench()
    type_(bench, "draft", [1, 2, 3])
    bench.submit("a", 4)
    bench.runner.row_fault = lambda row: ValueError() if not row.sample else None
    bench.step()
    assert len(bench.scheduler._drafts) == 0
    assert bench.sequences["a"].output == 1


def test_a_draft_that_ends_while_its_step_is_away_keeps_its_pages_until_then() -> None:
    bench = Bench(pages=4, context=16)
    type_(bench, "draft", [1] * 12)
    step = bench.scheduler.plan(bench.now)
    bench.scheduler.depart()
    bench.scheduler.end_draft("", "draft")
    assert bench.pool.available == 1
    bench.scheduler.commit(step, bench.runner.step(step.rows), bench.now)
    assert bench.pool.available == 4


def test_all_drafts_end_with_the_engine() -> None:
    bench = Bench(step_tokens=4)
    type_(bench, "draft", [1] * 12)
    bench.step()
    bench.scheduler.cancel_all()
    assert bench.pool.used == 0
    assert repr(bench.scheduler._drafts) == "<Drafts todo=0>"
