"""The engine's thread: what it waits for, and what becomes of commands and outputs that nobody takes."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence

import pytest

from engine.batch import Row
from engine.request import Draft
from tests.engine.test_loop import ask, build, serving

pytestmark = pytest.mark.anyio


def test_a_loop_that_is_gone_is_no_fault_of_the_engine(caplog: pytest.LogCaptureFixture) -> None:
    engine, runner = build()
    held = threading.Semaphore(0)
    runner.fault = lambda rows: (held.acquire() and None) or None

    async def leave() -> None:
        engine.start(asyncio.get_running_loop())
        ask(engine, "a")

    with caplog.at_level(logging.WARNING):
        asyncio.run(leave())
        for _ in range(20):
            held.release()
        engine._thread.put(None)
        engine._thread.join(30)
    assert not engine._thread.is_alive()
    assert "event_loop_closed" in caplog.text
    assert runner.closed == 1


async def test_a_time_limit_wakes_a_thread_that_has_nothing_to_do() -> None:
    engine, _ = build()
    thread = engine._thread
    now = 0.0
    thread._clock = lambda: now
    engine._scheduler.next_deadline = 5.0
    assert thread._patience_s() == 5.0
    now = 7.0
    assert thread._patience_s() == 0.0
    engine._scheduler.next_deadline = float("inf")
    assert thread._patience_s() is None
    await engine.close()


async def test_hints_are_dropped_while_too_many_commands_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as (engine, runner):
        gate = threading.Semaphore(0)
        entered = threading.Semaphore(0)

        def hang(rows: Sequence[Row]) -> None:
            entered.release()
            gate.acquire()

        runner.fault = hang
        heard = ask(engine, "a")
        await asyncio.get_running_loop().run_in_executor(None, entered.acquire)
        monkeypatch.setattr("engine.thread.MAX_COMMANDS", 3)
        for n in range(10):
            engine.prefill(Draft(f"d{n}", (1, 2, 3)))
            engine.forget(f"d{n}")
        assert engine._thread._inbox.qsize() == 3
        runner.fault = lambda rows: None
        gate.release()
        await heard.end()
