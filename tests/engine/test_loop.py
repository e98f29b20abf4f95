"""An engine around a runner: what fails in it harms one request, and what it owes is delivered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from engine.batch import DeviceLost, Row
from engine.interface import ModelInfo
from engine.limits import Limits
from engine.loop import StepEngine
from engine.request import ChatMessage, EngineError, EngineRequest, FinishReason, Sampling, Started
from tests.engine.contract import ENDLESS, Heard
from tests.engine.paged_runner import EOS, PagedRunner
from tests.engine.toy_tokenizer import ToyTokenizer

pytestmark = pytest.mark.anyio

CONTEXT = 4_096
FEW = replace(ENDLESS, max_tokens=12)


def build(**limits: int) -> tuple[StepEngine, PagedRunner]:
    runner = PagedRunner(512, 16, CONTEXT)
    model = ModelInfo("paged", 0, CONTEXT)
    return StepEngine(model, ToyTokenizer(), runner, Limits(CONTEXT, **limits), {EOS}), runner


@asynccontextmanager
async def serving(**limits: int) -> AsyncIterator[tuple[StepEngine, PagedRunner]]:
    engine, runner = build(**limits)
    engine.start(asyncio.get_running_loop())
    try:
        yield engine, runner
    finally:
        await engine.close()
    assert engine.stats().pages_used == 0
    assert runner.closed == 1


def ask(engine: StepEngine, id: str, text: str = "hello", sampling: Sampling = FEW, **more: object) -> Heard:
    messages = (ChatMessage("user", text),)
    request = EngineRequest(id, tuple(engine.tokenizer.encode_chat(messages)), messages, sampling)
    heard = Heard()
    engine.submit(replace(request, **more), heard)  # type: ignore[arg-type]
    return heard


def when(id_text: str, fault: Callable[[], None]) -> Callable[[Sequence[Row]], None]:
    """A fault of the whole step whenever the prompt of that text is prefilled or decoded at its page."""
    ids = ToyTokenizer().encode_chat((ChatMessage("user", id_text),))

    def strike(rows: Sequence[Row]) -> None:
        if any(list(row.tokens) == ids for row in rows):
            fault()

    return strike


def out_of_memory() -> None:
    raise MemoryError("no room")


async def test_a_step_that_fails_as_a_whole_ends_the_row_that_is_to_blame(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as (engine, runner):
        runner.fault = when("poison", out_of_memory)
        good = ask(engine, "good", "fine", replace(ENDLESS, max_tokens=200))
        await good.until(lambda heard: heard.deltas)
        bad = ask(engine, "bad", "poison")
        finished = await bad.end()
        assert finished.error is not None
        assert (finished.reason, finished.error.code) == (FinishReason.FAILED, "model_error")
        assert "no room" not in finished.error.message
        assert (await good.end()).usage.output == 200
        good.in_order()
        runner.fault = lambda rows: None
        assert (await ask(engine, "later", "poison").end()).reason is FinishReason.LENGTH
    assert "step_failed" in caplog.text


async def test_a_device_that_fails_every_step_fails_every_request_and_recovers() -> None:
    async with serving() as (engine, runner):

        def broken(rows: Sequence[Row]) -> None:
            raise RuntimeError("device lost")

        runner.fault = broken
        asked = [ask(engine, f"r{n}") for n in range(5)]
        for heard in asked:
            finished = await heard.end()
            assert finished.error is not None
            assert finished.error.code == "model_error"
        runner.fault = lambda rows: None
        assert (await ask(engine, "again").end()).reason is FinishReason.LENGTH
        assert engine.ready


async def test_a_page_that_cannot_be_copied_fails_who_wanted_it() -> None:
    async with serving() as (engine, runner):
        await ask(engine, "warm", prefill_only=True).end()

        def broken(source: int, target: int) -> None:
            raise RuntimeError("copy")

        runner.copy_fault = broken
        wanting, other = ask(engine, "wanting"), ask(engine, "other", "hello", salt="another")
        finished = await wanting.end()
        assert finished.error is not None
        assert finished.error.code == "model_error"
        assert (await other.end()).reason is FinishReason.LENGTH


async def test_a_fault_of_our_own_ends_everything_by_name_and_refuses_what_comes() -> None:
    engine, runner = build(max_running=1)
    engine.start(asyncio.get_running_loop())
    running, waiting = ask(engine, "a", sampling=ENDLESS), ask(engine, "b")
    await running.until(lambda heard: heard.deltas)
    runner.row_fault = lambda row: "not a token"  # type: ignore[assignment, return-value]
    for heard in (running, waiting):
        finished = await heard.end()
        assert finished.error is not None
        assert (finished.reason, finished.error.code) == (FinishReason.FAILED, "internal_error")
    assert not engine.ready
    with pytest.raises(EngineError) as refused:
        ask(engine, "c")
    assert refused.value.code == "internal_error"
    await engine.drain(1)
    await engine.close()
    assert runner.closed == 1


async def test_with_its_device_the_engine_ends_and_says_so() -> None:
    engine, runner = build(max_running=1)
    engine.start(asyncio.get_running_loop())
    running, waiting = ask(engine, "a", sampling=ENDLESS), ask(engine, "b")
    await running.until(lambda heard: heard.deltas)

    def lost(rows: Sequence[Row]) -> None:
        raise DeviceLost("the GPU has stopped working")

    runner.fault = lost
    for heard in (running, waiting):
        finished = await heard.end()
        assert finished.error is not None
        assert (finished.reason, finished.error.code) == (FinishReason.FAILED, "internal_error")
    assert not engine.ready
    await engine.close()
    assert runner.closed == 1


async def test_the_runner_is_called_from_one_thread_that_is_not_the_loops() -> None:
    async with serving() as (engine, runner):
        await asyncio.gather(*(ask(engine, f"r{n}").end() for n in range(4)))
        assert len(runner.threads) == 1
        assert threading.get_ident() not in runner.threads


async def test_outputs_come_on_the_loops_thread_one_hop_a_step() -> None:
    async with serving() as (engine, _):
        threads: set[int] = set()
        heard = Heard(lambda output: threads.add(threading.get_ident()))
        ids = tuple(engine.tokenizer.encode("hello"))
        engine.submit(EngineRequest("a", ids, "hello", FEW), heard)
        await heard.end()
        assert threads == {threading.get_ident()}


async def test_a_cancel_is_answered_within_two_steps() -> None:
    async with serving() as (engine, runner):
        gate = threading.Semaphore(0)
        entered = threading.Semaphore(0)

        def one_at_a_time(rows: Sequence[Row]) -> None:
            entered.release()
            gate.acquire()

        runner.fault = one_at_a_time
        heard = ask(engine, "a", "x" * 3_000, sampling=ENDLESS)  # six chunks
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, entered.acquire)
        engine.cancel("a")
        gate.release()
        assert (await heard.end()).reason is FinishReason.CANCELLED
        assert len(runner.steps) == 1
        runner.fault = lambda rows: None


async def test_close_waits_for_the_step_and_delivers_what_is_owed() -> None:
    engine, runner = build()
    engine.start(asyncio.get_running_loop())
    heard = ask(engine, "a", sampling=ENDLESS)
    await heard.until(lambda heard: heard.deltas)
    await engine.close()
    assert heard.finished.reason is FinishReason.CANCELLED
    heard.in_order()
    assert runner.closed == 1
    await engine.close()
    assert not [thread for thread in threading.enumerate() if thread is engine._thread]


async def test_an_engine_that_never_started_is_closed_once() -> None:
    engine, runner = build()
    await engine.close()
    await engine.close()
    assert runner.closed == 1


async def test_close_while_draining_ends_both() -> None:
    engine, _ = build()
    engine.start(asyncio.get_running_loop())
    heard = ask(engine, "a", sampling=ENDLESS)
    draining = asyncio.create_task(engine.drain(60))
    await heard.until(lambda heard: heard.deltas)
    await engine.close()
    await draining
    assert heard.finished.reason is FinishReason.CANCELLED


async def test_the_runner_must_hold_the_context() -> None:
    runner = PagedRunner(8, 16, 64)
    with pytest.raises(ValueError, match="context"):
        StepEngine(ModelInfo("m", 0, 128), ToyTokenizer(), runner, Limits(128), {EOS})


async def test_the_first_words_come_before_the_reply_is_done() -> None:
    async with serving() as (engine, _):
        heard = ask(engine, "a", sampling=ENDLESS)
        await heard.until(lambda heard: len(heard.deltas) > 1)
        assert isinstance(heard.outputs[0], Started)
        assert isinstance(heard.outputs[1], str)
        assert not heard.ended
        assert engine.model.id == "paged"
