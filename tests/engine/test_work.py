"""What deciding about a step costs grows with its rows, and no faster. Counted in calls, for no clock is exact."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from engine.blocks import BlockPool
from engine.detokenize import ByteStream, TokenTexts
from engine.limits import Limits
from engine.reply import Reply
from engine.request import EngineRequest, Sampling
from engine.scheduler import Scheduler

PAGE = 4
FEW, MANY = 16, 128
SLACK = 1.3


def calls_of(work: Callable[[], object]) -> int:
    count = 0

    def seen(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


class Replies:
    """So many of one tenant, each with a prompt of its own."""

    def __init__(self, count: int, prompt: int = 4 * PAGE, host_pages: int = 0) -> None:
        pages = count * (prompt // PAGE + 4)
        self.pool = BlockPool(pages, PAGE, host_pages)
        self.scheduler = Scheduler(
            Limits(PAGE * pages, max_running=count, step_tokens=2 * count * prompt),
            self.pool,
            lambda request, most: Reply(
                ByteStream(TokenTexts(lambda token: b"a")), request.sampling, most, {-1}
            ),
            lambda: 0,
        )
        self.batch = 0
        for number in range(count):
            ids = [number, *range(1, prompt)]
            self.enter(EngineRequest(f"r{number}", ids, "", Sampling(ignore_eos=True)))

    def enter(self, request: EngineRequest) -> None:
        self.scheduler.enter(self.scheduler.prepare(request, lambda output: None, 0.0))

    def step(self) -> None:
        step = self.scheduler.plan(0.0)
        self.batch += step.moves.beside
        self.scheduler.commit(step, [7 if row.sample else None for row in step.rows], 0.0)
        self.scheduler.outputs.clear()
        self.pool.land(self.batch)

    def decoding(self, tokens: int) -> Replies:
        while any(s.output < tokens for s in self.scheduler._live.values()):
            self.step()
        return self


@pytest.mark.parametrize(
    ("prepared", "work"),
    [
        (Replies, Replies.step),
        (lambda count: Replies(count).decoding(2), Replies.step),
        (lambda count: Replies(count).decoding(PAGE + 1), Replies.step),
        (lambda count: Replies(count).decoding(2), lambda replies: replies.scheduler.cancel_all()),
    ],
    ids=["prompts begin", "replies go on", "all get a page", "all are cancelled"],
)
def test_a_step_costs_as_much_more_as_it_has_more_rows(
    prepared: Callable[[int], Replies], work: Callable[[Replies], object]
) -> None:
    few, many = prepared(FEW), prepared(MANY)
    ratio = calls_of(lambda: work(many)) / calls_of(lambda: work(few))
    assert ratio < SLACK * MANY / FEW


@pytest.mark.parametrize("host_pages", [0, 4096])
def test_a_prompt_that_takes_all_pages_from_others_costs_as_much_more_as_it_is_longer(
    host_pages: int,
) -> None:
    def long_prompt(count: int) -> int:
        replies = Replies(count, host_pages=host_pages).decoding(1)
        replies.scheduler.cancel_all()
        replies.enter(EngineRequest("long", [*range(PAGE * count * 7)], "", Sampling()))
        calls = calls_of(replies.step)
        assert replies.pool.moved_out > 0 or not host_pages
        return calls

    assert long_prompt(MANY) / long_prompt(FEW) < SLACK * MANY / FEW
