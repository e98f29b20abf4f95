"""Who takes part in a step, who waits, who is preempted and how everything ends."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.blocks import BlockPool
from engine.budget import Budget
from engine.carrier import Carrier
from engine.detokenize import ByteStream, TokenTexts
from engine.limits import Limits
from engine.reply import Reply
from engine.request import (
    EngineError,
    EngineRequest,
    Finished,
    FinishReason,
    Output,
    Queued,
    Sampling,
    Started,
)
from engine.scheduler import Scheduler
from engine.sequence import Phase, Sequence
from engine.step import Step
from tests.engine.paged_runner import EOS, VOCABULARY, PagedRunner

ENDLESS = Sampling(temperature=0, ignore_eos=True)
PAGE = 4


class Bench:
    """A scheduler and a runner stepped by hand."""

    def __init__(
        self, pages: int = 64, context: int = 64, host_pages: int = 0, **limits: int | float
    ) -> None:
        self.runner = PagedRunner(pages, PAGE, context, host_pages)
        self.carrier = Carrier(self.runner.mover)
        self.pool = BlockPool(pages, PAGE, host_pages)
        seeds = random.Random(1)
        self.scheduler = Scheduler(
            Limits(context, **limits),  # type: ignore[arg-type]
            self.pool,
            self.reply,
            lambda: seeds.getrandbits(63),
        )
        self.now = 0.0
        self.heard: dict[str, list[Output]] = {}
        self.sequences: dict[str, Sequence] = {}
        self.last = Step()

    def reply(self, request: EngineRequest, max_output: int) -> Reply:
        stream = ByteStream(TokenTexts(lambda token: b"" if token == EOS else bytes([31 + token])))
        return Reply(stream, request.sampling, max_output, {EOS})

    def submit(
        self, id: str, prompt: int | list[int], sampling: Sampling = ENDLESS, **more: object
    ) -> Sequence:
        """`prompt`: its tokens, or how many (they begin with the id's, so that no two are alike)."""
        ids = prompt if isinstance(prompt, list) else [1 + (ord(id[0]) + n) % 90 for n in range(prompt)]
        request = replace(EngineRequest(id, ids, "", sampling), **more)  # type: ignore[arg-type]
        scheduler = self.scheduler
        scheduler.limits.check(request, scheduler.live, scheduler.live_of(request.salt))
        outputs = self.heard[id] = []
        sequence = self.scheduler.prepare(request, outputs.append, self.now)
        self.scheduler.enter(sequence)
        self.sequences[id] = sequence
        return sequence

    def step(self, times: int = 1) -> list[tuple[str, int, int]]:
        """(id, start, tokens) of the last step's rows."""
        asked: list[tuple[str, int, int]] = []
        for _ in range(times):
            self.pool.land(self.carrier.ended())
            self.last = step = self.scheduler.plan(self.now)
            for _, copy in step.copies:
                self.runner.copy_page(*copy)
            if step.moves:
                self.carrier.send(step.moves)
            asked = [
                (s.request.id, row.start, len(row.tokens))
                for s, row in zip(step.sequences, step.rows, strict=True)
            ]
            if step.rows:
                self.scheduler.commit(step, self.runner.step(step.rows), self.now)
            self.hand_out()
        return asked

    def hand_out(self) -> None:
        for sequence, output in self.scheduler.outputs:
            sequence.deliver(output)
        self.scheduler.outputs.clear()

    def run(self) -> None:
        for _ in range(10_000):
            self.hand_out()
            if not self.scheduler.live:
                return
            self.step()
        raise AssertionError("it never ends")

    def end(self, id: str) -> Finished:
        last = self.heard[id][-1]
        assert isinstance(last, Finished)
        assert list(last.token_ids) == self.ids(id)
        return last

    def ids(self, id: str) -> list[int]:
        """What was said so far."""
        return self.sequences[id].tokens[:]


def alone(prompt: list[int], sampling: Sampling) -> list[int]:
    bench = Bench(pages=64)
    bench.submit("a", prompt, sampling)
    bench.run()
    return bench.ids("a")


def test_a_context_must_fit_into_the_pool() -> None:
    with pytest.raises(ValueError, match="context"):
        Bench(pages=4, context=17)


def test_decodes_come_first_and_a_long_prompt_comes_in_chunks() -> None:
    bench = Bench(step_tokens=8)
    bench.submit("a", 4)
    assert bench.step() == [("a", 0, 4)]
    bench.submit("b", 20)
    assert bench.step() == [("a", 4, 1), ("b", 0, 7)]
    assert bench.step() == [("a", 5, 1), ("b", 7, 7)]
    assert bench.step() == [("a", 6, 1), ("b", 14, 6)]
    assert bench.step() == [("a", 7, 1), ("b", 20, 1)]
    assert [row.sample for row in bench.last.rows] == [True, True]


def test_a_chunk_that_is_not_the_last_samples_nothing() -> None:
    bench = Bench(step_tokens=8)
    bench.submit("a", 12)
    bench.step()
    assert [row.sample for row in bench.last.rows] == [False]
    assert bench.heard["a"] == [Started(0)]


def test_many_decodes_leave_prefill_its_chunk() -> None:
    bench = Bench(step_tokens=8)
    for id in "abcdefgh":
        bench.submit(id, 1)
    bench.step()
    bench.submit("x", 20)
    rows = bench.step()
    assert [row[2] for row in rows] == [1] * 8 + [2]


def test_a_short_prompt_does_not_wait_for_a_long_one() -> None:
    bench = Bench(step_tokens=8)
    bench.submit("long", 40)
    bench.step()
    bench.submit("short", 3)
    assert bench.step() == [("long", 8, 5), ("short", 0, 3)]


def test_two_long_prompts_share_a_step_and_a_third_waits_its_turn() -> None:
    bench = Bench(step_tokens=8, partial_prefills=2)
    bench.submit("a", 20)
    bench.submit("b", 20)
    bench.submit("c", 20)
    assert bench.step() == [("a", 0, 7), ("b", 0, 1)]
    assert bench.heard["c"] == [Queued(0)]
    bench.step(5)
    assert bench.heard["c"][1:2] == [Started(0)]


@pytest.mark.parametrize(
    ("others", "share"), [(["long"], 8 / 4 / 5), (["a", "b"], 8 / 3), (list("abcdefghi"), 8 / 10)]
)
def test_short_prompts_that_always_come_leave_a_long_one_its_share(others: list[str], share: float) -> None:
    bench = Bench(pages=400, context=800, step_tokens=8, max_running=64)
    long = bench.submit("long", [7] * 700, salt="long")
    alive: list[Sequence] = []
    for step in range(100):
        alive = [sequence for sequence in alive if sequence.phase is not Phase.DONE]
        for salt in others:
            for n in range(4 - sum(sequence.request.salt == salt for sequence in alive)):
                prompt = [1 + (step * 13 + place * (n + 1)) % 90 for place in range(12)]
                alive.append(
                    bench.submit(f"{salt}{step}.{n}", prompt, replace(ENDLESS, max_tokens=1), salt=salt)
                )
        bench.step()
    assert long.computed == pytest.approx(100 * share, rel=0.25)


def test_a_step_smaller_than_the_number_of_prompts_serves_some_of_them() -> None:
    bench = Bench(step_tokens=2, partial_prefills=4)
    for id in "abc":
        bench.submit(id, 8, replace(ENDLESS, max_tokens=1))
    assert bench.step() == [("a", 0, 2)]
    bench.run()
    assert {bench.end(id).reason for id in "abc"} == {FinishReason.LENGTH}


def test_no_more_run_at_once_than_allowed_and_they_come_in_order() -> None:
    bench = Bench(max_running=2)
    once = replace(ENDLESS, max_tokens=2)
    for id in "abcd":
        bench.submit(id, 3, once)
    bench.step()
    assert [bench.heard[id] for id in "cd"] == [[Queued(0)], [Queued(1)]]
    bench.submit("e", 3, once)
    bench.step()
    bench.step()
    assert isinstance(bench.heard["c"][1], Started)
    assert bench.heard["e"] == [Queued(2)]
    bench.run()
    for id in "abcde":
        assert sum(isinstance(output, Queued) for output in bench.heard[id]) <= 1


def test_past_the_bound_a_request_is_refused() -> None:
    bench = Bench(max_running=1, max_waiting=1)
    bench.submit("a", 3)
    bench.submit("b", 3)
    with pytest.raises(EngineError) as refused:
        bench.submit("c", 3)
    assert (refused.value.code, refused.value.retry_after_s) == ("server_is_overloaded", 1.0)


def test_a_preempted_reply_is_the_same_as_if_it_had_been_alone() -> None:
    prompts = {id: [1 + (ord(id) * 7 + n) % 90 for n in range(6)] for id in "abcd"}
    bench = Bench(pages=16, context=48)
    for id, prompt in prompts.items():
        bench.submit(id, prompt, replace(ENDLESS, max_tokens=30))
    preempted = 0
    while bench.scheduler.live:
        bench.step()
        preempted += sum(s.started and s.phase is Phase.WAITING for s in bench.scheduler._live.values())
    assert preempted, "the pool is too small for all four"
    for id, prompt in prompts.items():
        assert bench.ids(id) == alone(prompt, replace(ENDLESS, max_tokens=30))
        assert bench.end(id).usage.output == 30
        assert [type(output) for output in bench.heard[id]].count(Started) == 1
    assert bench.pool.used == 0


def test_the_youngest_is_preempted_and_returns_before_those_who_came_later() -> None:
    bench = Bench(pages=6, context=24, max_running=2)
    old = bench.submit("old", 8)
    young = bench.submit("young", 8)
    bench.submit("later", 8)
    bench.step()
    while young.phase is not Phase.WAITING:
        bench.step()
        assert old.phase is not Phase.WAITING
    assert len(bench.scheduler._roster.waiting) == 2
    bench.scheduler.cancel("old")
    bench.step()
    assert list(bench.scheduler._roster.running) == ["young", "later"]


def test_a_reply_may_fill_the_whole_pool() -> None:
    bench = Bench(pages=4, context=16)
    bench.submit("a", 5)
    bench.submit("b", 5)
    bench.run()
    for id in "ab":
        assert (bench.end(id).reason, bench.end(id).usage.output) == (FinishReason.LENGTH, 11)


def test_a_warm_up_needs_no_room_for_a_reply() -> None:
    bench = Bench(pages=4, context=16)
    bench.submit("warm", 16, prefill_only=True)
    bench.run()
    assert bench.end("warm") == Finished(FinishReason.STOP, bench.end("warm").usage)
    assert bench.pool.cached == 4
    bench.submit("a", 5)
    bench.run()


def test_no_tokens_wanted_is_a_reply_of_none() -> None:
    bench = Bench()
    bench.submit("a", 5, replace(ENDLESS, max_tokens=0))
    bench.step()
    assert (bench.end("a").reason, bench.end("a").usage.output) == (FinishReason.LENGTH, 0)
    assert [row.sample for row in bench.last.rows] == [False]


def test_cancel_in_prefill_frees_the_pages_at_once() -> None:
    bench = Bench(step_tokens=4)
    bench.submit("a", 20)
    bench.step(2)
    assert bench.pool.used == 5
    bench.scheduler.cancel("a")
    assert bench.pool.used == 0
    bench.hand_out()
    assert bench.end("a").reason is FinishReason.CANCELLED
    assert bench.end("a").usage.input == 20
    assert bench.step() == []


def test_a_cancelled_head_of_the_queue_lets_the_next_one_in() -> None:
    bench = Bench(pages=8, context=32)
    bench.submit("a", 20)
    bench.step()
    bench.submit("big", 28)
    bench.submit("small", 3)
    bench.step()
    assert bench.heard["small"] == [Queued(1)]
    bench.scheduler.cancel("big")
    bench.step()
    assert isinstance(bench.heard["small"][1], Started)


def test_all_are_cancelled_whatever_they_do() -> None:
    bench = Bench(step_tokens=4, max_running=2)
    for id in "abc":
        bench.submit(id, 8)
    bench.step(3)
    bench.scheduler.cancel_all()
    bench.hand_out()
    assert {bench.end(id).reason for id in "abc"} == {FinishReason.CANCELLED}
    assert bench.pool.used == bench.scheduler.live == 0


def test_a_failed_row_ends_its_own_request_only() -> None:
    bench = Bench()
    bench.submit("a", 4)
    bench.submit("b", 4)
    bench.step(2)
    first_page = {s.request.id: s.lease.pages[0] for s in bench.scheduler._live.values() if s.lease}
    bench.runner.row_fault = lambda row: (
        FloatingPointError("nan") if row.pages[0] == first_page["a"] else None
    )
    before = bench.heard["b"][:]
    bench.step()
    error = bench.end("a").error
    assert error is not None
    assert (error.code, bench.end("a").reason) == ("model_error", FinishReason.FAILED)
    assert "nan" not in error.message, "what a library says is for the log"
    bench.step(3)
    assert len(bench.heard["b"]) > len(before)
    assert not isinstance(bench.heard["b"][-1], Finished)


def test_an_engine_error_of_a_row_is_told_as_it_is() -> None:
    bench = Bench()
    bench.submit("a", 4)
    bench.runner.row_fault = lambda row: EngineError("upstream_error", "gone")
    bench.step()
    error = bench.end("a").error
    assert error is not None
    assert (error.code, error.message) == ("upstream_error", "gone")


def test_ended_sequences_leave_a_step_that_was_not_computed_yet() -> None:
    bench = Bench()
    for id in "abc":
        bench.submit(id, 4)
    step = bench.scheduler.plan(0.0)
    bench.scheduler.cancel("b")
    step.drop_ended()
    assert [s.request.id for s in step.sequences] == ["a", "c"]
    assert len(step.rows) == 2
    bench.scheduler.commit(step, bench.runner.step(step.rows), 0.0)


def test_time_limits_end_requests_by_name() -> None:
    bench = Bench(max_running=1)
    bench.submit("a", 4, total_timeout_s=10.0, first_token_timeout_s=5.0)
    bench.submit("b", 4, first_token_timeout_s=7.0)
    bench.submit("c", 4, total_timeout_s=8.0)
    bench.step()
    bench.now = 6.0
    bench.step()
    assert bench.heard["b"] == [Queued(0)], "the first has its token, the others have time"
    bench.now = 7.0
    bench.step()
    bench.now = 8.0
    bench.step()
    bench.now = 10.0
    bench.step()
    codes = {id: error.code for id in "abc" if (error := bench.end(id).error)}
    assert codes == {"a": "request_timeout", "b": "first_token_timeout", "c": "request_timeout"}
    assert bench.scheduler.next_deadline == float("inf")
    assert bench.pool.used == 0


def test_a_follow_up_shares_the_pages_of_its_parent() -> None:
    bench = Bench()
    prompt = list(range(1, 14))
    bench.submit("a", prompt, replace(ENDLESS, max_tokens=3))
    bench.run()
    bench.submit("b", prompt + bench.ids("a") + [9, 9], replace(ENDLESS, max_tokens=3))
    bench.run()
    assert bench.heard["b"][0] == Started(12)
    assert bench.end("b").usage.cached == 12
    stats = bench.scheduler.stats()
    assert (stats.prompt_tokens, stats.cached_prompt_tokens) == (13 + 18, 12)
    assert (stats.generated_tokens, stats.finished["length"]) == (6, 2)


def test_a_warm_up_is_pinned_for_its_time() -> None:
    bench = Bench(pages=8, context=32, pin_s=10.0)
    bench.submit("w", [1, 2, 3, 4, 5, 6], prefill_only=True)
    bench.run()
    for now, cached in ((9.0, 6), (31.0, 0)):
        bench.now = now
        for n in range(4):
            bench.submit(f"{n}", [20 + n] * 8, replace(ENDLESS, max_tokens=1))
            bench.run()
        bench.submit("f", [1, 2, 3, 4, 5, 6, 7], replace(ENDLESS, max_tokens=1))
        bench.run()
        started = bench.heard["f"][0]
        assert started == Started(cached)


def test_a_long_prompt_of_one_tenant_does_not_keep_anothers_waiting() -> None:
    bench = Bench(step_tokens=8, partial_prefills=1)
    for id in "abc":
        bench.submit(id, 40, salt="greedy")
    bench.step()
    assert bench.submit("x", 8, salt="other").phase is Phase.WAITING
    assert bench.step() == [("a", 8, 4), ("x", 0, 4)]
    bench.submit("y", 8, salt="greedy", service_tier="priority")
    assert bench.step() == [("a", 12, 1), ("x", 4, 3), ("y", 0, 4)], "priority has four times the share"


def test_a_freed_place_goes_to_who_was_served_least() -> None:
    bench = Bench(max_running=2)
    limited = replace(ENDLESS, max_tokens=12)
    for n, salt in enumerate("aaaab"):
        bench.submit(f"{salt}{n}", 8, limited, salt=salt)
    bench.step()
    assert list(bench.scheduler._roster.running) == ["a0", "b4"], "level, so first come, then the other"
    bench.run()


def test_the_youngest_of_the_tenant_that_was_served_most_is_preempted_first() -> None:
    bench = Bench(pages=9, context=24)
    for id, salt in (("g1", "greedy"), ("g2", "greedy"), ("frugal", "frugal")):
        bench.submit(id, 8, salt=salt)
    while all(s.phase is not Phase.WAITING for s in bench.sequences.values()) or not bench.heard["frugal"]:
        bench.step()
    assert [id for id, s in bench.sequences.items() if s.phase is Phase.WAITING] == ["g2"]
    bench.run()
    for id, s in bench.sequences.items():
        assert bench.ids(id) == alone(list(s.prompt), replace(ENDLESS, max_tokens=16))


def test_flex_is_preempted_before_those_who_came_later() -> None:
    bench = Bench(pages=6, context=24)
    flex = bench.submit("flex", 8, service_tier="flex")
    bench.step()
    bench.submit("late", 8)
    while flex.phase is not Phase.WAITING:
        bench.step()
    assert bench.sequences["late"].phase is Phase.DECODE
    bench.run()


def test_who_was_planned_in_a_step_and_preempted_by_a_later_one_is_not_in_it() -> None:
    bench = Bench(pages=8, context=32)
    first = bench.submit("first", 13, service_tier="flex")
    bench.step()
    bench.submit("second", 13)
    while first.phase is not Phase.WAITING:
        rows = bench.step()
        held = [page for row in bench.last.rows for page in row.pages]
        assert len(held) == len(set(held))
    assert [id for id, _, _ in rows] == ["second"]
    bench.run()
    for id in ("first", "second"):
        assert bench.ids(id) == alone(list(bench.sequences[id].prompt), replace(ENDLESS, max_tokens=19))


def test_what_is_computed_again_is_charged_once() -> None:
    bench = Bench(pages=6, context=24)
    for id in "ab":
        bench.submit(id, 8, replace(ENDLESS, max_tokens=16), salt=id)
    bench.run()
    accounts = bench.scheduler._roster._accounts
    assert {id: accounts.served(id) for id in "ab"} == {"a": 24, "b": 24}


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0]), min_size=2, max_size=4),
    places=st.integers(1, 6),
    chunk=st.integers(4, 32),
    data=st.data(),
)
def test_tenants_that_always_ask_get_their_shares(
    weights: list[float], places: int, chunk: int, data: st.DataObject
) -> None:
    """Within what their running requests may still take: a request is served to its end once it has begun."""
    bench = Bench(pages=256, context=32, max_running=places, step_tokens=chunk, max_waiting=100)
    served = [0.0] * len(weights)
    asked = 0
    for _ in range(120):
        for tenant, weight in enumerate(weights):
            while sum(s.request.salt == f"{tenant}" for s in bench.scheduler._live.values()) < places + 2:
                prompt = data.draw(st.integers(1, 20))
                ids = [1 + (asked * 7 + n) % 90 for n in range(prompt)]
                limited = replace(ENDLESS, max_tokens=data.draw(st.integers(1, 12)))
                bench.submit(f"r{asked}", ids, limited, salt=f"{tenant}", weight=weight)
                asked += 1
        bench.step()
    accounts = bench.scheduler._roster._accounts
    served = [accounts.served(f"{tenant}") for tenant in range(len(weights))]
    assert max(served) - min(served) <= (places + 1) * 32 / min(weights)


def test_a_weight_must_be_positive() -> None:
    with pytest.raises(ValueError, match="weight"):
        Bench().submit("a", 4, weight=0.0)


def test_the_end_of_a_turn_is_counted_and_is_no_text() -> None:
    for n in range(60):
        prompt = [1 + n, 2, 3]
        free = alone(prompt, replace(ENDLESS, max_tokens=60))
        if EOS in free:
            break
    bench = Bench()
    bench.submit("a", prompt, Sampling(temperature=0))
    bench.run()
    said = bench.ids("a")
    assert said == free[: free.index(EOS) + 1]
    assert bench.end("a").reason is FinishReason.STOP
    assert bench.end("a").token_ids[-1] == EOS
    assert bench.end("a").usage.output == len(said)


def test_live_objects_show_their_state() -> None:
    bench = Bench()
    sequence = bench.submit("a", 4)
    bench.step()
    assert repr(sequence) == "<Sequence a decode output=1>"
    assert (
        repr(bench.scheduler)
        == "<Scheduler <Roster running=1 waiting=0> <BlockPool used=1 cached=0 total=64>>"
    )
    assert "a" in bench.scheduler
    assert bench.scheduler.busy


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_company_gives_the_same_text_and_leaves_no_page(data: st.DataObject) -> None:
    bench = Bench(
        pages=data.draw(st.integers(12, 24)),
        context=48,
        step_tokens=data.draw(st.integers(1, 24)),
        max_running=data.draw(st.integers(1, 6)),
        partial_prefills=data.draw(st.integers(1, 3)),
    )
    asked: dict[str, tuple[list[int], Sampling]] = {}
    for turn in range(data.draw(st.integers(1, 30))):
        match data.draw(st.sampled_from(["submit", "submit", "cancel", "commit", "step", "step", "fail"])):
            case "submit":
                prompt = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=20))
                sampling = replace(ENDLESS, max_tokens=data.draw(st.integers(1, 20)))
                asked[f"r{turn}"] = (prompt, sampling)
                bench.submit(
                    f"r{turn}",
                    prompt,
                    sampling,
                    prefill_only=data.draw(st.booleans()),
                    salt=data.draw(st.sampled_from("xyz")),
                    session=data.draw(st.sampled_from(["", "s", "t"])),
                    weight=data.draw(st.sampled_from([0.5, 1.0])),
                    service_tier=data.draw(st.sampled_from(["auto", "default", "flex", "priority"])),
                )
            case "commit" if asked:
                id = data.draw(st.sampled_from(sorted(asked)))
                bench.scheduler.commit_reply(id, bench.ids(id)[: data.draw(st.integers(0, 20))], bench.now)
            case "cancel" if asked:
                bench.scheduler.cancel(data.draw(st.sampled_from(sorted(asked))))
            case "fail":
                unlucky = data.draw(st.integers(0, 23))
                bench.runner.row_fault = lambda row, page=unlucky: (
                    ValueError() if row.pages[-1] == page else None
                )  # type: ignore[misc]
                bench.step()
                bench.runner.row_fault = lambda row: None
            case _:
                bench.step()
    bench.run()
    assert bench.pool.used == 0
    for id, (prompt, sampling) in asked.items():
        ends = [output for output in bench.heard[id] if isinstance(output, Finished)]
        assert ends == bench.heard[id][-1:]
        expected = alone(prompt, sampling)
        assert bench.ids(id) == expected[: len(bench.ids(id))]
        if ends[0].reason is FinishReason.LENGTH:
            assert bench.ids(id) == expected


def test_the_vocabulary_of_the_tests_is_printable() -> None:
    assert all(bytes([31 + token]).isascii() for token in range(1, VOCABULARY))


def test_what_ends_while_its_step_is_away_keeps_its_pages_until_then() -> None:
    bench = Bench(pages=4, context=16)
    bench.submit("a", 10, Sampling(temperature=0, max_tokens=9))
    step = bench.scheduler.plan(bench.now)
    bench.scheduler.depart()
    bench.scheduler.cancel("a")
    bench.hand_out()
    assert bench.end("a").reason is FinishReason.CANCELLED
    assert bench.scheduler.pool.available == 1, "nobody else gets what the step writes to"
    bench.scheduler.commit(step, bench.runner.step(step.rows), bench.now)
    assert bench.scheduler.pool.available == 4
    assert bench.scheduler.outputs == [], "and its results are nobody's"


def test_prompts_beside_a_running_reply_are_computed_in_chunks_that_fit_the_budget() -> None:
    bench = Bench(pages=64, step_tokens=32)
    budget = Budget(100.0)
    budget.learn(1, 0, 20.0)
    budget.learn(1, 10, 60.0)

    def chunks() -> list[int]:
        return [len(row.tokens) for row in bench.scheduler.plan(0.0, budget=budget).rows]

    bench.submit("a", 32)
    assert chunks() == [32]
    bench.step()
    bench.submit("b", 60)
    assert chunks() == [1, 20]
