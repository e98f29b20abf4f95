"""Streams through the whole engine: tokens a second, the event loop's lag, and how soon a cancel frees its pages."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING, Any

from scripts.gpu_steps import Sizes

if TYPE_CHECKING:
    from engine.cuda.runner import GraphRunner


class NoText:
    """The part of a tokenizer that an engine needs for replies nobody reads."""

    holding = False

    def stream(self) -> NoText:
        return self

    def push(self, token: int) -> str:
        return "x"

    def flush(self) -> str:
        return ""


def engine_on(runner: GraphRunner, loaded: Any, sizes: Sizes) -> Any:
    from engine.interface import ModelInfo
    from engine.limits import Limits
    from engine.loop import StepEngine

    limits = Limits(
        runner.context_tokens,
        max_running=max(sizes.streams),
        step_tokens=sizes.chunk,
        ahead=runner.ahead,
        vocabulary=loaded.model.vocab,
    )
    tokenizer: Any = NoText()
    return StepEngine(ModelInfo("random", 0, runner.context_tokens), tokenizer, runner, limits, frozenset())


async def serve(runner: GraphRunner, loaded: Any, streams: int, sizes: Sizes) -> tuple[float, float]:
    """Tokens a second from the first request to the last reply's end, and the loop's lag p99 in milliseconds."""
    engine = engine_on(runner, loaded, sizes)
    engine.start(asyncio.get_running_loop())
    lags: list[float] = []

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            lags.append((time.perf_counter() - before - 0.001) * 1e3)

    try:
        for _ in range(2):  # the first time compiles what it needs
            lags.clear()
            ticker = asyncio.ensure_future(tick())
            began = time.perf_counter()
            await asyncio.gather(*(reply(engine, number, sizes) for number in range(streams)))
            took_s = time.perf_counter() - began
            ticker.cancel()
    finally:
        await engine.close()
    return streams * sizes.output / took_s, statistics.quantiles(lags, n=100)[98] if len(lags) > 1 else 0.0


async def reply(engine: Any, number: int, sizes: Sizes) -> None:
    from engine.request import EngineRequest, Finished, Output, Sampling

    done = asyncio.Event()

    def deliver(output: Output) -> None:
        if isinstance(output, Finished):
            done.set()

    prompt = [(number * 31 + place * 7) % 128 for place in range(sizes.prompt)]
    sampling = Sampling(temperature=0, max_tokens=sizes.output, ignore_eos=True)
    engine.submit(EngineRequest(f"r{number}", prompt, "", sampling), deliver)
    await done.wait()


async def cancel(runner: GraphRunner, loaded: Any, sizes: Sizes) -> float:
    """Steps from a cancel to the end of its request, whose pages are free by then; the most of several."""
    from engine.request import EngineRequest, Finished, Output, Sampling

    engine = engine_on(runner, loaded, sizes)
    engine.start(asyncio.get_running_loop())
    most = 0
    try:
        for number in range(5):
            started, done = asyncio.Event(), asyncio.Event()

            def deliver(output: Output, started: asyncio.Event = started, done: asyncio.Event = done) -> None:
                (done if isinstance(output, Finished) else started).set()

            sampling = Sampling(temperature=0, max_tokens=300, ignore_eos=True)
            engine.submit(EngineRequest(f"c{number}", [1, 2, 3], "", sampling), deliver)
            await started.wait()
            before = engine.stats().steps
            engine.cancel(f"c{number}")
            await done.wait()
            most = max(most, engine.stats().steps - before)
            assert engine.stats().pages_used == 0
    finally:
        await engine.close()
    return float(most)
