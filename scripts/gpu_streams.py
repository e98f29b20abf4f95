"""Streams through the whole engine: tokens a second, what Python takes, the event loop's lag, a chat's fourth turn, and
how soon a cancel frees its pages."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scripts.gpu_steps import Sizes

if TYPE_CHECKING:
    from engine.cuda.runner import GraphRunner
    from engine.request import EngineRequest


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


async def serve(engine: Any, waits: list[float], streams: int, sizes: Sizes) -> dict[str, float]:
    """Many replies at once, from the first request to the last reply's end; the second time, with other prompts."""
    for number in range(2):  # the first time compiles what it needs
        asked = [
            _request(f"{number}.{n}", _prompt(n + streams * number, sizes.prompt), sizes.output)
            for n in range(streams)
        ]
        steps = engine.stats().steps
        with _lags() as lags, _hops() as hops, _python(engine, waits) as python:
            began = time.perf_counter()
            await asyncio.gather(*(_reply(engine, request) for request in asked))
            took_s = time.perf_counter() - began
        steps = engine.stats().steps - steps
    return {
        "tokens/s": streams * sizes.output / took_s,
        "event-loop lag p99 ms": _p99(lags) * 1e3,
        "call_soon_threadsafe a step": len(hops) / steps,
        "Python ms a step": statistics.median(python) * 1e3,
    }


async def fourth_turn(engine: Any, sizes: Sizes) -> dict[str, float]:
    """A chat whose history is kept, against a prompt of the same length that nobody has asked for."""
    new = sizes.history // 3
    kept: list[float] = []
    anew: list[float] = []
    for number in range(3):  # the first compiles what it needs
        history: list[int] = []
        for turn in range(4):
            tokens = new if turn < 3 else sizes.turn
            prompt = [*history, *_prompt(number * 4 + turn, tokens)]
            first_s = await _reply(engine, _request(f"k{number}.{turn}", prompt, 1, session=f"s{number}"))
            history = [*prompt, 7]
        kept.append(first_s)
        other = _prompt(100 + number, len(prompt))
        anew.append(await _reply(engine, _request(f"a{number}", other, 1)))
    return {
        "first token, kept, ms": min(kept[1:]) * 1e3,
        "first token, anew, ms": min(anew[1:]) * 1e3,
        "of anew": min(kept[1:]) / min(anew[1:]),
    }


async def cancel(engine: Any) -> dict[str, float]:
    """Steps from a cancel to the end of its request, whose pages are free by then; the most of several."""
    from engine.request import Finished, Output

    most = 0
    for number in range(5):
        started, done = asyncio.Event(), asyncio.Event()

        def deliver(output: Output, started: asyncio.Event = started, done: asyncio.Event = done) -> None:
            (done if isinstance(output, Finished) else started).set()

        engine.submit(_request(f"c{number}", [1, 2, 3], 300), deliver)
        await started.wait()
        before = engine.stats().steps
        engine.cancel(f"c{number}")
        await done.wait()
        most = max(most, engine.stats().steps - before)
        assert engine.stats().pages_used == 0
    return {"steps until its pages are free": float(most)}


def _prompt(number: int, tokens: int) -> list[int]:
    """Different from every other number's, from the first token on."""
    return [
        number & 127,
        number >> 7 & 127,
        *((number * 31 + place * 7) % 128 for place in range(tokens - 2)),
    ]


def _request(id: str, prompt: Sequence[int], output: int, session: str = "") -> EngineRequest:
    from engine.request import EngineRequest, Sampling

    sampling = Sampling(temperature=0, max_tokens=output, ignore_eos=True)
    return EngineRequest(id, prompt, "", sampling, session=session)


async def _reply(engine: Any, request: EngineRequest) -> float:
    """Seconds to the first text. Returns when the reply has ended; raises its error."""
    from engine.request import Finished, Output

    done: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
    first: list[float] = []
    began = time.perf_counter()

    def deliver(output: Output) -> None:
        if isinstance(output, str) and not first:
            first.append(time.perf_counter() - began)
        elif isinstance(output, Finished):
            done.set_result(output)

    engine.submit(request, deliver)
    finished = await done
    if finished.error is not None:
        raise finished.error
    return first[0]


@contextmanager
def _lags() -> Iterator[list[float]]:
    """Seconds by which the event loop was late."""
    lags: list[float] = []

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            lags.append(time.perf_counter() - before - 0.001)

    ticker = asyncio.ensure_future(tick())
    try:
        yield lags
    finally:
        ticker.cancel()


@contextmanager
def _hops() -> Iterator[list[None]]:
    """The calls that came from other threads."""
    loop: Any = asyncio.get_running_loop()
    hops: list[None] = []

    original = loop.call_soon_threadsafe

    def counted(*arguments: Any, **options: Any) -> Any:
        hops.append(None)
        return original(*arguments, **options)

    loop.call_soon_threadsafe = counted
    try:
        yield hops
    finally:
        del loop.call_soon_threadsafe


@contextmanager
def _python(engine: Any, waits: list[float]) -> Iterator[list[float]]:
    """Seconds of each step that were not spent waiting for the device."""
    stepper, found = engine._thread._stepper, list[float]()
    step = stepper.step

    def timed() -> None:
        waited = len(waits)
        began = time.perf_counter()
        step()
        found.append(time.perf_counter() - began - sum(waits[waited:]))

    stepper.step = timed
    try:
        yield found
    finally:
        del stepper.step


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[98] if len(values) > 1 else 0.0
