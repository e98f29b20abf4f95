from __future__ import annotations

from collections.abc import Sequence

from engine.batch import Row
from engine.blocks import BlockPool
from engine.detokenize import ByteStream
from engine.limits import Limits
from engine.reply import Reply
from engine.request import EngineRequest, Sampling
from engine.scheduler import Scheduler
from engine.stepper import Stepper
from tests.engine.paged_runner import PagedRunner


class SlowRunner(PagedRunner):
    """Its steps take 10 ms, and a millisecond a token of a prompt, on its own clock."""

    now = 0.0

    def step(self, rows: Sequence[Row]) -> list[int | Exception | None]:
        self.now += 0.010 + sum(0.001 * len(row.tokens) for row in rows if len(row.tokens) > 1)
        return super().step(rows)


def test_a_long_prompt_beside_a_running_reply_holds_no_step_up() -> None:
    runner = SlowRunner(64, 16, 1000)
    scheduler = Scheduler(
        Limits(1000, step_tokens=256, gap_s=0.05),
        BlockPool(64, 16),
        lambda request, most: Reply(ByteStream(lambda token: b"a"), request.sampling, most, {-1}),
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
