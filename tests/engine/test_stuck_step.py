"""A step that hangs: nobody waits for it in vain, and nobody hears twice when it comes back."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from engine.batch import Row
from engine.interface import ModelInfo
from engine.limits import Limits
from engine.loop import StepEngine
from engine.request import EngineError, EngineRequest, FinishReason
from engine.sequence import Sequence as Generation
from tests.engine.contract import ENDLESS, Heard
from tests.engine.paged_runner import EOS, PagedRunner
from tests.engine.toy_tokenizer import ToyTokenizer

pytestmark = pytest.mark.anyio

CONTEXT = 512
FEW = replace(ENDLESS, max_tokens=12)
SOON_S = 0.02


class Gate:
    """A fault that lets steps through until it is shut; then they hang until it opens."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.hanging = threading.Event()
        self.late_s = 0.0

    def clock(self) -> float:
        return time.monotonic() + self.late_s

    def __call__(self, *_: object) -> None:
        if not self._open.is_set():
            self.hanging.set()
            assert self._open.wait(60)

    def shut(self) -> None:
        self.hanging.clear()
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def hang(self) -> None:
        """Shut it and wait until a step is caught."""
        self.shut()
        assert await asyncio.to_thread(self.hanging.wait, 60)


def build(gate: Gate, **more: float) -> tuple[StepEngine, PagedRunner]:
    runner = PagedRunner(64, 16, CONTEXT)
    runner.fault = gate
    limits = Limits(CONTEXT, max_running=4)
    more = {"stand_in_s": SOON_S, "unready_s": SOON_S, "close_s": SOON_S, **more}
    model = ModelInfo("paged", 0, CONTEXT)
    engine = StepEngine(model, ToyTokenizer(), runner, limits, {EOS}, clock=gate.clock, **more)  # type: ignore[arg-type]
    return engine, runner


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[StepEngine, PagedRunner, Gate]]:
    gate = Gate()
    engine, runner = build(gate, close_s=60)
    engine.start(asyncio.get_running_loop())
    try:
        yield engine, runner, gate
    finally:
        gate.open()
        await engine.close()
    assert engine.stats().pages_used == 0
    assert runner.closed == 1


def ask(engine: StepEngine, id: str, text: str = "hello", **more: object) -> Heard:
    request = EngineRequest(id, tuple(engine.tokenizer.encode(text)), text, ENDLESS)
    heard = Heard()
    engine.submit(replace(request, **more), heard)  # type: ignore[arg-type]
    return heard


async def streaming(engine: StepEngine, id: str, **more: object) -> Heard:
    return await ask(engine, id, **more).until(lambda heard: heard.deltas)  # type: ignore[arg-type]


def fault_of(heard: Heard) -> tuple[FinishReason, str]:
    assert heard.finished.error is not None
    return heard.finished.reason, heard.finished.error.code


async def until_freed(engine: StepEngine) -> None:
    async with asyncio.timeout(60):
        while engine.stats().pages_used:
            await asyncio.sleep(0.001)


async def test_the_time_limits_end_requests_by_name() -> None:
    async with serving() as (engine, _, gate):
        late = await streaming(engine, "late", total_timeout_s=1_000)
        await gate.hang()
        mute = ask(engine, "mute", first_token_timeout_s=1_000)
        gate.late_s = 2_000
        await asyncio.gather(late.end(), mute.end())
        assert fault_of(late) == (FinishReason.FAILED, "request_timeout")
        assert fault_of(mute) == (FinishReason.FAILED, "first_token_timeout")
        late.in_order()  # usage is what was delivered


async def test_a_cancel_is_answered_and_the_neighbour_goes_on_when_the_step_is_back() -> None:
    async with serving() as (engine, _, gate):
        left = await streaming(engine, "left")
        stays = await streaming(engine, "stays", sampling=replace(ENDLESS, max_tokens=300))
        await gate.hang()
        engine.cancel("left")
        engine.cancel("left")
        assert (await left.end()).reason is FinishReason.CANCELLED
        assert not stays.ended
        gate.open()
        assert (await stays.end()).usage.output == 300
        left.in_order()
        stays.in_order()


async def test_the_pages_stay_taken_until_the_step_is_back() -> None:
    async with serving() as (engine, _, gate):
        left = await streaming(engine, "left", text="x" * 40)
        await gate.hang()
        engine.cancel("left")
        await left.end()
        assert engine.stats().running == 0
        assert engine.stats().pages_used > 0
        gate.open()
        await until_freed(engine)


async def test_an_id_may_come_again_at_once() -> None:
    async with serving() as (engine, _, gate):
        first = await streaming(engine, "same")
        await gate.hang()
        engine.cancel("same")
        await first.end()
        again = ask(engine, "same", sampling=FEW)
        gate.open()
        assert (await again.end()).reason is FinishReason.LENGTH
        first.in_order()
        again.in_order()


async def test_it_is_not_ready_and_recovers() -> None:
    async with serving() as (engine, _, gate):
        asked = await streaming(engine, "a")
        await gate.hang()
        async with asyncio.timeout(60):
            while engine.ready:
                await asyncio.sleep(0.001)
        gate.open()
        async with asyncio.timeout(60):
            while not engine.ready:
                await asyncio.sleep(0.001)
        assert not asked.ended


async def test_drain_ends_too() -> None:
    async with serving() as (engine, _, gate):
        asked = await streaming(engine, "a")
        await gate.hang()
        await engine.drain(0.0)
        assert asked.finished.reason is FinishReason.CANCELLED


async def test_close_leaves_the_thread_behind_and_delivers_what_is_owed() -> None:
    gate = Gate()
    engine, runner = build(gate)
    engine.start(asyncio.get_running_loop())
    asked = await streaming(engine, "a")
    await gate.hang()
    waiting = ask(engine, "b")
    await asyncio.gather(engine.close(), engine.close())
    assert asked.finished.reason is waiting.finished.reason is FinishReason.CANCELLED
    assert engine._thread.is_alive()
    assert runner.closed == 0, "the step still uses it"
    gate.open()
    await asyncio.to_thread(engine._thread.join, 60)
    await asyncio.sleep(0)  # what the thread might still have had delivered
    asked.in_order()
    waiting.in_order()
    assert runner.closed == 1
    assert engine.stats().pages_used == 0


async def test_a_thread_that_hangs_outside_of_its_step_is_buried() -> None:
    gate = Gate()
    engine, _ = build(gate, stand_in_s=60)
    engine.start(asyncio.get_running_loop())
    asked = await streaming(engine, "a")
    await gate.hang()
    with engine._thread._stepper._turn:  # as if it hung while it commits
        await engine.close()
        assert fault_of(asked) == (FinishReason.FAILED, "internal_error")
        gate.open()
    await asyncio.to_thread(engine._thread.join, 60)
    await asyncio.sleep(0)
    assert isinstance(asked.finished, tuple), "nothing came after its end"


async def test_a_copy_that_fails_after_its_request_was_cancelled_says_nothing_more() -> None:
    async with serving() as (engine, runner, gate):
        await ask(engine, "warm", prefill_only=True).end()

        def late_fault(source: int, target: int) -> None:
            gate()
            raise RuntimeError("copy")

        runner.copy_fault = late_fault
        gate.shut()
        asked = ask(engine, "a")
        assert await asyncio.to_thread(gate.hanging.wait, 60)
        engine.cancel("a")
        assert (await asked.end()).reason is FinishReason.CANCELLED
        gate.open()
        await until_freed(engine)
        asked.in_order()


async def test_steps_that_come_back_just_when_they_are_given_up_end_nobody_twice() -> None:
    chance = random.Random(3)
    enders: list[int] = []
    slow = threading.Event()  # never set: its wait is a step's time

    def strike(rows: Sequence[Row]) -> None:
        slow.wait(chance.choice((0, 0, 0.0005, 0.002)))

    gate = Gate()
    engine, runner = build(gate, stand_in_s=0.0002, close_s=60)
    finish = engine._scheduler.finish

    def watched(sequence: Generation, reason: FinishReason, error: EngineError | None = None) -> None:
        enders.append(threading.get_ident())
        finish(sequence, reason, error)

    engine._scheduler.finish = watched  # type: ignore[method-assign]
    engine.start(asyncio.get_running_loop())
    whole = ask(engine, "whole", "x" * 40, sampling=replace(ENDLESS, max_tokens=60))
    await whole.end()
    reference = whole.ids
    runner.fault = strike
    everyone: list[Heard] = []
    for round in range(60):
        asked = [
            ask(
                engine,
                f"{n}",
                "x" * 40,
                sampling=replace(ENDLESS, max_tokens=chance.randrange(1, 60)),
                total_timeout_s=chance.choice((None, 0.001, 0.004, 0.01)),
            )
            for n in range(4)
        ]
        await asked[round % 4].until(lambda heard: heard.outputs)
        engine.cancel(str(chance.randrange(4)))
        engine.cancel(str(chance.randrange(4)))
        await asyncio.gather(*(heard.end() for heard in asked))
        everyone += asked
    await engine.close()
    for heard in everyone:
        heard.in_order()
        assert heard.ids == reference[: len(heard.ids)], "nobody wrote to another's pages"
    stats = engine.stats()
    assert stats.pages_used == 0
    assert sum(stats.finished.values()) == len(everyone) + 1
    assert min(enders.count(threading.get_ident()), len(everyone) - enders.count(threading.get_ident())) > 9
    assert {heard.finished.reason for heard in everyone} > {FinishReason.CANCELLED, FinishReason.FAILED}
