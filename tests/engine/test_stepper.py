from __future__ import annotations

from collections.abc import Sequence as Items

from engine.batch import Row
from engine.blocks import BlockPool
from engine.detokenize import ByteStream, TokenTexts
from engine.limits import Limits
from engine.reply import Reply
from engine.request import EngineRequest, Sampling
from engine.scheduler import Scheduler
from engine.sequence import Sequence
from engine.stepper import Stepper
from tests.engine.late_mover import LateMover, SoonMover
from tests.engine.paged_runner import PagedRunner, expected


class SlowRunner(PagedRunner):
    """Its steps take 10 ms, and a millisecond a token of a prompt, on its own clock."""

    now = 0.0

    def step(self, rows: Items[Row]) -> list[int | Exception | None]:
        self.now += 0.010 + sum(0.001 * len(row.tokens) for row in rows if len(row.tokens) > 1)
        return super().step(rows)


def test_a_long_prompt_beside_a_running_reply_holds_no_step_up() -> None:
    runner = SlowRunner(64, 16, 1000)
    scheduler = Scheduler(
        Limits(1000, step_tokens=256, gap_s=0.05),
        BlockPool(64, 16),
        lambda request, most: Reply(ByteStream(TokenTexts(lambda token: b"a")), request.sampling, most, {-1}),
        lambda: 0,
    )
    stepper = Stepper(scheduler, runner, lambda: runner.now)

    def submit(id: str, prompt: list[int]) -> None:
        scheduler.enter(
            scheduler.prepare(
                EngineRequest(id, prompt, "", Sampling(max_tokens=500, ignore_eos=True)),
                lambda output: None,
                runner.now,
            )
        )

    submit("short", [1] * 40)
    for _ in range(20):
        stepper.step()
    submit("long", [2] * 400)
    taken, computed = [], 0
    while computed < 400:
        began = runner.now
        stepper.step()
        taken.append(runner.now - began)
        (_, one, _), (_, chunk, _) = runner.steps[-1]
        assert one == 1  # the reply goes on
        computed += chunk
    assert max(taken) < 0.052
    assert len(taken) < 16  # half of each step's time at least is the prompt's


class Small:
    """A stepper over pages that do not hold two of its requests at once."""

    def __init__(self, pages: int, context: int, mover: type[LateMover] = LateMover) -> None:
        self.runner = PagedRunner(pages, 4, context)
        self.mover = self.runner.mover = mover(self.runner._cells, 64)
        self.scheduler = Scheduler(
            Limits(context),
            BlockPool(pages, 4, 64),
            lambda request, most: Reply(
                ByteStream(TokenTexts(lambda token: b"a")), request.sampling, most, {-1}
            ),
            lambda: 0,
        )
        self.stepper = Stepper(self.scheduler, self.runner, lambda: 0.0)

    def submit(self, id: str, prompt: list[int], most: int = 1, *, read: bool = False) -> Sequence:
        sampling = Sampling(temperature=0, max_tokens=most, ignore_eos=True)
        request = EngineRequest(id, prompt, "", sampling, prefill_only=read)
        sequence = self.scheduler.prepare(request, lambda output: None, 0.0)
        self.scheduler.enter(sequence)
        return sequence

    def run(self) -> None:
        """As the engine's thread does, which sleeps where nothing is to be done."""
        while self.stepper.busy:
            self.stepper.step()

    def serve(self, id: str, prompt: list[int], *, read: bool = False) -> None:
        self.submit(id, prompt, read=read)
        self.run()


def with_pages_on_their_way() -> Small:
    """To the request "d", which waits for them."""
    small = Small(8, 32)
    small.serve("x", [1] * 28)
    small.serve("y", [2] * 28)
    small.mover.lands = lambda: False
    small.submit("d", [1] * 28)
    small.stepper.step()
    return small


def test_who_lacks_pages_that_are_on_their_way_for_nobody_gets_them_when_they_have_come() -> None:
    small = with_pages_on_their_way()
    last = small.submit("e", [3] * 28)
    small.scheduler.cancel("d")
    small.run()
    assert last.tokens == expected([3] * 28, 1)


def test_pages_that_moved_for_nobody_are_given_back_though_nothing_else_happens() -> None:
    small = with_pages_on_their_way()
    small.scheduler.cancel("d")
    assert small.scheduler.pool.used
    small.run()
    assert small.scheduler.pool.used == 0


def test_a_page_is_copied_before_another_ones_content_comes_to_its_place() -> None:
    small = Small(6, 24, SoonMover)
    small.serve("long", [2] * 18, read=True)
    small.submit("one", [3] * 9, 0)
    small.submit("two", [4] * 9, 0)
    small.run()
    small.serve("short", [1, 1], read=True)
    follow, back = small.submit("follow", [1, 1, 1]), small.submit("back", [*[2] * 18, 9])
    small.run()
    assert (follow.cached, back.cached) == (2, 18)
    assert follow.tokens == expected([1, 1, 1], 1)
    assert back.tokens == expected([*[2] * 18, 9], 1)
