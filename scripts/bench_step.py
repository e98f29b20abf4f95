"""What a step of the default model costs, and what others feel of it.

    python -m scripts.bench_step [--threads 1] [--dtype auto] [--torch] [--rest] [--modules] [--live] [--prompts]

Milliseconds a decode step, median and least of 40, for 1 and 8 rows with contexts of 100 and 1,000 tokens. `--torch`
leaves our kernels out, `--rest` the matrix products: each returns what it returned first, or nothing; `--modules` has
transformers' modules compute instead of our decoder. `--live` runs
the engine instead: 8 replies, a prompt of 1,565 tokens in their midst, and a ticker of 1 ms in the event loop beside.
`--prompts` computes prompts alone.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine import models
from engine.batch import Row
from engine.config import EngineSettings
from engine.fetch import DEFAULT_MODEL, ensure_model
from engine.models import load_model
from engine.progress import ProgressBars
from engine.request import EngineRequest, Output, Sampling
from engine.runner import TorchRunner
from engine.torch_engine import build_torch_engine

CACHE = Path("~/.cache/sluice").expanduser()
GREEDY = Sampling(temperature=0.0)
PROMPT = 1565


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench_step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="auto")
    for name in ("torch", "rest", "modules", "live", "prompts"):
        parser.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args()
    native = None if options.torch else CACHE / "native"
    settings = EngineSettings(threads=options.threads, dtype=options.dtype, native_dir=native)
    if options.modules:
        vars(models)["architecture_of"] = lambda config: None
    folder = ensure_model(None, CACHE, ProgressBars())
    print(f"{DEFAULT_MODEL} threads={options.threads} kernels={'torch' if options.torch else 'own'}")
    if options.live:
        asyncio.run(live(folder, settings))
    elif options.prompts:
        prompts(folder, settings)
    else:
        steps(folder, settings, rest=options.rest)


def steps(folder: Path, settings: EngineSettings, *, rest: bool) -> None:
    loaded = load_model(folder, settings)
    runner = TorchRunner(loaded, settings)
    if rest:
        leave_products_out(loaded.model)
    for rows in (1, 8):
        for context in (100, 1000):
            times = decode(runner, rows, context, 43)[3:]
            print(f"rows={rows} context={context} ms={statistics.median(times):.2f} least={min(times):.2f}")


def decode(runner: TorchRunner, rows: int, context: int, count: int) -> list[float]:
    """Milliseconds of each of `count` steps."""
    each = (context + count) // runner.page_tokens + 1
    pages = [list(range(row * each, (row + 1) * each)) for row in range(rows)]
    for own in pages:
        for start in range(0, context - 1, 256):
            runner.step([Row([5] * min(256, context - 1 - start), start, own, GREEDY, 0, False)])
    times = []
    for position in range(context - 1, context - 1 + count):
        step = [Row([7], position, own, GREEDY, 0, True) for own in pages]
        began = time.perf_counter()
        runner.step(step)
        times.append((time.perf_counter() - began) * 1e3)
    return times


def prompts(folder: Path, settings: EngineSettings) -> None:
    """The least of some prompts alone, of so many tokens behind so many others."""
    runner = TorchRunner(load_model(folder, settings), settings)
    for tokens, behind, count in ((32, 0, 8), (64, 0, 8), (256, 0, 5), (PROMPT, 0, 2), (32, 1500, 6)):
        prompt_ms(runner, behind, 0)
        least = min(prompt_ms(runner, tokens, behind) for _ in range(count))
        print(
            f"tokens={tokens} behind={behind} ms={least:.0f} tokens/s={tokens / least * 1e3:.0f}", flush=True
        )


def prompt_ms(runner: TorchRunner, tokens: int, behind: int) -> float:
    pages = list(range((behind + tokens) // runner.page_tokens + 1))
    end, began = behind + tokens, time.perf_counter()
    for start in range(behind, end, 256):
        count = min(256, end - start)
        runner.step([Row([5] * count, start, pages, GREEDY, 0, start + count == end)])
    return (time.perf_counter() - began) * 1e3


def leave_products_out(model: Any) -> None:
    if model._whole is not None:  # a function that does nothing with what it is given
        model._whole._model.product = ctypes.cast(ctypes.CDLL(None).labs, ctypes.c_void_p).value
        return
    for layer in model.layers:
        for name in ("qkv", "attention_out", "gate_up", "down"):
            object.__setattr__(layer, name, remembering(getattr(layer, name)))
    model._head = remembering(model._head)


def remembering(product: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    kept: dict[int, Tensor] = {}

    def remembered(x: Tensor) -> Tensor:
        if len(x) not in kept:
            kept[len(x)] = torch.nan_to_num(product(x)).clamp(-10, 10)
        return kept[len(x)]

    return remembered


async def live(folder: Path, settings: EngineSettings) -> None:
    engine = build_torch_engine(folder, settings)
    engine.start(asyncio.get_running_loop())
    heard: list[list[float]] = [[] for _ in range(9)]
    answered = asyncio.Event()

    def submit(number: int, tokens: int, most: int) -> None:
        def deliver(output: Output) -> None:
            if isinstance(output, str):
                heard[number].append(time.perf_counter())
                if number == 8:
                    answered.set()

        ids = [100 + (number * 7 + place) % 4000 for place in range(tokens)]
        sampling = Sampling(temperature=0.0, max_tokens=most, ignore_eos=True)
        engine.submit(EngineRequest(str(number), ids, "", sampling), deliver)

    for number in range(8):
        submit(number, 60, 2000)
    await asyncio.sleep(4)
    lags: list[float] = []
    until = time.perf_counter() + 5
    while (before := time.perf_counter()) < until:
        await asyncio.sleep(0.001)
        lags.append((time.perf_counter() - before) * 1e3 - 1)
    usual = longest_gap(heard, until - 5, until)
    asked = time.perf_counter()
    submit(8, PROMPT, 1)
    await answered.wait()
    await asyncio.sleep(0.5)
    waited = longest_gap(heard, asked - 1, heard[8][0] + 0.5)
    print(f"lag ms p50={quantile(lags, 50):.2f} p99={quantile(lags, 99):.2f} most={max(lags):.2f}")
    print(
        f"gap ms usual={usual:.0f} beside the prompt={waited:.0f}; its first token after s={heard[8][0] - asked:.2f}"
    )
    await engine.close()


def longest_gap(heard: list[list[float]], begin: float, end: float) -> float:
    """Milliseconds in which none of the first eight said anything, at the most."""
    said = sorted(moment for moments in heard[:8] for moment in moments)
    return max((later - sooner) * 1e3 for sooner, later in pairwise(said) if later > begin and sooner < end)


def quantile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


if __name__ == "__main__":
    main()
