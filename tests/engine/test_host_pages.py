"""What has to leave the device and is asked for again: it comes back, whoever else runs meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from engine.blocks import BlockPool
from engine.interface import ModelInfo
from engine.lease import Opened
from engine.limits import Limits
from engine.loop import StepEngine
from engine.moves import Moves
from engine.request import Draft, Finished, FinishReason, Sampling, Started
from engine.sequence import Sequence
from tests.engine.late_mover import LateMover
from tests.engine.paged_runner import EOS, PagedRunner, expected
from tests.engine.test_blocks import warm_up
from tests.engine.test_follow_up import ask
from tests.engine.test_scheduler import PAGE, Bench
from tests.engine.toy_tokenizer import ToyTokenizer


def landed(pool: BlockPool) -> Moves:
    """The moves that were planned; they have been carried out."""
    moves = pool.take_moves()
    pool.land(1 << 30)
    return moves


def opened(pool: BlockPool, prompt: list[int]) -> Opened:
    found = pool.open(prompt, len(prompt), "")
    assert found is not None
    return found


def serve(pool: BlockPool, prompt: list[int], until: float | None = None) -> int:
    """A whole life of a request, whose pages may be pinned; the tokens that were cached."""
    found = opened(pool, prompt)
    landed(pool)
    pool.enter_all(found.lease, prompt)
    if until is not None:
        pool.pin(found.lease, ("", repr(prompt)), until)
    pool.close(found.lease)
    return found.cached_tokens


def test_pages_that_had_to_leave_come_back() -> None:
    pool = BlockPool(4, PAGE, 8)
    first, second = [1] * 14, [2] * 14
    serve(pool, first)
    serve(pool, second)
    assert (pool.cached, pool.host.used, pool.evictions) == (4, 4, 0)
    found = opened(pool, [*first, 9])
    moves = landed(pool)
    assert found.cached_tokens == 14, "the partial page too"
    assert [page for _, page in moves.back] == found.lease.pages
    assert len(moves.out) == 4, "the other's made room"
    assert (pool.moved_out, pool.moved_back) == (8, 4)


def test_a_reply_that_grows_lets_a_page_leave_at_once() -> None:
    pool = BlockPool(4, PAGE, 8)
    serve(pool, [1] * 12)
    found = opened(pool, [5])
    assert landed(pool).out == []
    assert pool.grow(found.lease, 2 * PAGE)
    assert pool.take_moves().at_once == [(found.lease.pages[1], 0)]


def test_a_page_that_goes_on_otherwise_is_computed_as_far_as_it_is_no_whole_one() -> None:
    pool = BlockPool(4, PAGE, 8)
    serve(pool, [1] * 8)
    serve(pool, [2] * 16)
    assert serve(pool, [*[1] * 6, 5, 5, 5]) == 4
    assert serve(pool, [1] * 9) == 8, "nothing was lost by it"


def test_the_first_that_left_is_given_up_first_and_who_is_pinned_last() -> None:
    pool = BlockPool(3, PAGE, 4)
    serve(pool, [1] * 8, until=100)
    for n in range(2, 6):
        serve(pool, [n] * 9)
    assert serve(pool, [2] * 9) == 0
    assert serve(pool, [1] * 9) == 8
    assert pool.evictions > 0


def test_a_pin_that_ends_makes_its_pages_like_any_others() -> None:
    pool = BlockPool(3, PAGE, 5)
    serve(pool, [1] * 8, until=10)
    for n in (2, 3):
        serve(pool, [n] * 12, until=20)
    assert pool.host.used == 5
    pool.expire(10)
    serve(pool, [4] * 12)
    assert pool.host.used == 5
    assert serve(pool, [1] * 9) == 0


def test_what_is_computed_again_needs_no_place_in_the_hosts_memory() -> None:
    pool = BlockPool(4, PAGE, 8)
    first, again = opened(pool, [1] * 9), None
    pool.enter_all(first.lease, [1] * 8)
    pool.close(first.lease)
    again = opened(pool, [1] * 4)  # begun while nothing of it was known to be full
    serve(pool, [2] * 12)
    assert pool.host.used == 2
    pool.enter(again.lease, [1] * 4, 4)
    assert pool.host.used == 1


def test_longer_text_takes_the_place_of_its_beginning_in_the_hosts_memory() -> None:
    pool = BlockPool(4, PAGE, 8)
    warm_up(pool, [1, 2], until=10)
    longer = opened(pool, [1, 2, 3])
    held = opened(pool, [7] * 12)
    landed(pool)
    pool.close(held.lease)
    serve(pool, [8] * 12)
    pool.enter_all(longer.lease, [1, 2, 3])
    assert all(node.tokens[:1] != (1,) for node in pool.host.nodes())


def test_pages_on_their_way_are_nobodys_until_they_have_landed() -> None:
    pool = BlockPool(3, PAGE, 8)
    serve(pool, [1] * 12)
    found = opened(pool, [2] * 12)
    moves = pool.take_moves()
    assert (len(moves.out), pool.waits(found.batch)) == (3, True)
    pool.close(found.lease)
    assert pool.available == 0
    assert pool.open([3], 1, "") is None
    pool.land(found.batch)
    assert pool.available == 3


def test_what_is_on_its_way_is_not_taken_for_what_was_computed_meanwhile() -> None:
    pool = BlockPool(4, PAGE, 8)
    serve(pool, [1] * 4)
    serve(pool, [2] * 16)
    coming, beside = opened(pool, [1] * 5), opened(pool, [1] * 4)
    assert pool.take_moves().back == [(0, coming.lease.pages[0])]
    pool.enter_all(beside.lease, [1] * 4)
    assert beside.lease.known == 0
    assert beside.lease.pages != coming.lease.pages[:1], "nothing is there yet"
    pool.land(coming.batch)
    pool.enter(beside.lease, [1] * 4, 4)
    assert beside.lease.pages == coming.lease.pages[:1]


def test_a_page_whose_content_has_to_leave_at_once_is_copied_to_behind_that() -> None:
    pool = BlockPool(4, PAGE, 8)
    warm_up(pool, [1, 1], until=100)
    serve(pool, [2] * 8)
    reply = opened(pool, [5])
    assert pool.grow(reply.lease, 2 * PAGE)
    leaving = reply.lease.pages[1]
    pool.close(reply.lease)  # in the same plan: somebody else's next page was more urgent
    opened(pool, [7])
    found = opened(pool, [1, 1, 1])
    assert found.lease.pages == [leaving]
    assert (found.cached_tokens, found.copy, pool.waits(found.batch)) == (2, None, True)
    moves = pool.take_moves()
    assert [page for page, _ in moves.at_once] == [target for _, target in moves.copies] == [leaving]


class Talk:
    """A prompt whose pages have left, on a bench whose moves end when they are let."""

    def __init__(self) -> None:
        self.bench = Bench(16, 48, 64, step_tokens=16)
        assert self.bench.runner.mover is not None
        self.mover: LateMover = self.bench.runner.mover
        self.prompt = [5] * 21
        for id, prompt in (("x", self.prompt), ("y", [6] * 40), ("z", [8] * 40)):
            self.serve(id, prompt)
        assert self.bench.pool.host.used >= 6
        self.hold()

    def serve(self, id: str, prompt: list[int]) -> None:
        self.bench.submit(id, prompt, Sampling(max_tokens=1))
        self.bench.run()
        self.bench.scheduler.commit_reply(id, [], self.bench.now)

    def hold(self) -> None:
        self.mover.lands = lambda: False

    def land(self) -> None:
        self.mover.lands = lambda: True


def test_a_row_waits_for_its_pages_and_no_other_does() -> None:
    talk = Talk()
    bench = talk.bench
    talk.land()
    other = bench.submit("c", [7] * 3)
    bench.step(4)
    talk.hold()
    waiting = bench.submit("d", talk.prompt)
    for said in range(4, 8):
        assert bench.step() == [("c", 2 + said - 1, 1)]
    assert bench.heard["d"] == [Started(20)]
    assert not waiting.tokens
    talk.land()
    assert bench.step() == [("c", 9, 1), ("d", 20, 1)]
    bench.step(4)
    assert bench.ids("c") == expected([7] * 3, len(other.tokens))
    assert bench.ids("d") == expected(talk.prompt, len(waiting.tokens))


def test_a_second_that_begins_alike_waits_for_the_same_pages() -> None:
    talk = Talk()
    bench = talk.bench
    first, second = bench.submit("d", talk.prompt), bench.submit("e", [*talk.prompt, 8])
    bench.step()
    assert bench.step() == []
    talk.land()
    bench.step(5)
    for sequence in (first, second):
        assert sequence.tokens == expected(sequence.prompt, len(sequence.tokens))
        assert sequence.cached >= 20


def test_a_cancel_while_pages_come_back_leaves_them_known() -> None:
    talk = Talk()
    bench = talk.bench
    bench.submit("d", talk.prompt)
    bench.step()
    bench.scheduler.cancel("d")
    bench.hand_out()
    assert bench.end("d").reason is FinishReason.CANCELLED
    talk.land()
    bench.submit("e", talk.prompt)
    bench.step(3)
    assert bench.heard["e"][0] == Started(20)
    assert bench.pool.moved_back == 5


def test_a_draft_waits_for_its_pages_too() -> None:
    talk = Talk()
    bench = talk.bench
    scheduler = bench.scheduler
    scheduler.enter_draft(scheduler.prepare_draft(Draft("typed", talk.prompt), bench.now))
    bench.step()
    assert bench.step() == []
    talk.land()
    assert bench.step() == [("typed", 20, 1)]


def test_moves_that_fail_end_who_waits_for_them_and_nobody_else() -> None:
    talk = Talk()
    bench = talk.bench
    other = bench.submit("c", [7] * 3)
    bench.step()
    draft = Draft("typed", [6] * 40)
    bench.scheduler.enter_draft(bench.scheduler.prepare_draft(draft, bench.now))
    waiting: Sequence = bench.submit("d", talk.prompt)
    bench.step()
    bench.carrier.wait()
    bench.scheduler.lose_moves(RuntimeError("no way"))
    bench.hand_out()
    assert isinstance(bench.heard["d"][-1], Finished)
    assert bench.end("d").reason is FinishReason.FAILED
    assert waiting.lease is None
    assert bench.pool.host.used == 0
    bench.submit("e", talk.prompt)
    bench.step(4)
    assert bench.heard["e"][0] == Started(0)
    assert other.tokens == expected([7] * 3, len(other.tokens))


@pytest.mark.anyio
@pytest.mark.parametrize("late", [False, True])
async def test_four_turns_of_chats_that_do_not_fit_together(late: bool) -> None:
    runner = PagedRunner(24, 16, 256, host_pages=200)
    assert runner.mover is not None
    runner.mover.lands = lambda: not late
    engine = StepEngine(ModelInfo("paged", 0, 256), ToyTokenizer(), runner, Limits(256), {EOS})
    engine.start(asyncio.get_running_loop())
    chats = [[1 + n + chat % 90 for n in range(40)] for chat in range(5)]
    try:
        for turn in range(4):
            for chat, ids in enumerate(chats):
                heard = await ask(engine, f"{chat} {turn}", ids)
                assert heard.ids == expected(ids, 20)
                assert heard.cached >= (len(ids) - 12 - 1 if turn else 0)
                engine.commit(f"{chat} {turn}", heard.ids)
                ids += [*heard.ids, *range(60, 72)]
        stats = engine.stats()
        assert stats.host_pages_out > stats.host_pages_back > 20
        assert 0 < stats.host_pages_used < stats.host_pages_total == 200
        assert stats.page_bytes == runner.mover.page_bytes
        assert stats.evictions == 0
    finally:
        await engine.close()
    assert engine.stats().pages_used == 0


@pytest.mark.anyio
async def test_an_engine_survives_moves_that_fail() -> None:
    runner = PagedRunner(16, 16, 256, host_pages=64)
    mover = runner.mover
    assert mover is not None
    engine = StepEngine(ModelInfo("paged", 0, 256), ToyTokenizer(), runner, Limits(256), {EOS})
    engine.start(asyncio.get_running_loop())

    def fail() -> None:
        raise RuntimeError("no way")

    try:
        first, second = [3] * 100, [4] * 200
        await ask(engine, "a", first)
        await ask(engine, "b", second)
        mover.fault = fail
        assert (await ask(engine, "c", first)).finished.reason is FinishReason.FAILED
        mover.fault = lambda: None
        assert (await ask(engine, "d", first)).ids == expected(first, 20)
    finally:
        await engine.close()
