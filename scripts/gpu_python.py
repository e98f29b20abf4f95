"""How much Python is in a decode step? Measured without a GPU: what is asked of the device costs nothing here.

    python -m scripts.gpu_python [--rows 1 32 128 256] [--steps 400] [--profile]

The device's graphs are empty and its tokens are there at once, so what remains is the scheduler (plan and commit), the
runner, and replies that say a letter a token. What a real device adds in Python, launches above all, is not in it.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import statistics
import sys
import time
from typing import Any

import torch
from torch import Tensor

from engine.batch import Result, Row, Runner
from engine.blocks import BlockPool
from engine.config import EngineSettings
from engine.cuda.device import Pending, Work
from engine.cuda.processor import ProcessorDevice
from engine.cuda.runner import GraphRunner
from engine.detokenize import ByteStream, TokenTexts
from engine.limits import Limits
from engine.models import LoadedModel
from engine.paged_cache import LayerShape
from engine.reply import Reply
from engine.request import EngineRequest, Sampling
from engine.scheduler import Scheduler
from engine.stepper import Stepper
from scripts.gpu_report import table

PROMPT, PAGE, VOCAB = 64, 16, 64
TEXTS = TokenTexts(lambda token: b"a")


class NoDevice(ProcessorDevice):
    """Nothing is computed."""

    def __init__(self, rows: int) -> None:
        self._tokens = _Tokens([7] * rows)

    def capture(self, work: Work) -> Work:
        return lambda: None

    def fetch(self, values: Tensor) -> Pending:
        return self._tokens


class _Tokens:
    def __init__(self, tokens: list[int]) -> None:
        self._tokens = tokens

    def wait(self) -> list[int]:
        return self._tokens


class NoModel:
    """What a runner asks of a model whose steps are not computed; a prompt's logits are zeros."""

    vocab = VOCAB
    shapes = (LayerShape(1, 8),)

    class mixer:
        @staticmethod
        def begin(rows: object) -> bool:
            return False

    def forward(
        self, tokens: Tensor, positions: Tensor, attention: object, chosen: Tensor, adapted: bool = False
    ) -> Tensor:
        return torch.zeros(len(chosen), VOCAB)


class Timed:
    """A runner whose steps are timed."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.took_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def step(self, rows: list[Row]) -> list[Result]:
        began = time.perf_counter()
        results = self._runner.step(rows)
        self.took_s = time.perf_counter() - began
        return results


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.gpu_python", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 32, 128, 256])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--profile", action="store_true", help="show what takes the time, instead")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = [("rows", "whole step, p50 ms", "of it the runner", "p99 ms")]
    for rows in given.rows:
        stepper, timed = stepping(rows, given.steps)
        if given.profile:
            with cProfile.Profile() as profile:
                measured(stepper, timed, given.steps)
            pstats.Stats(profile).sort_stats("tottime").print_stats(18)
            continue
        whole, own = measured(stepper, timed, given.steps)
        found.append(
            (
                str(rows),
                f"{statistics.median(whole) * 1e3:.3f}",
                f"{statistics.median(own) * 1e3:.3f}",
                f"{statistics.quantiles(whole, n=100)[98] * 1e3:.3f}",
            )
        )
    print(table(found))
    return 0


def stepping(rows: int, steps: int) -> tuple[Stepper, Timed]:
    """All of them decode."""
    context = PROMPT + steps + 64
    pages = rows * (-(-context // PAGE) + 1)
    settings = EngineSettings(
        dtype="float32", page_tokens=PAGE, max_running=rows, kv_bytes=pages * PAGE * 2 * 8 * 4
    )
    model: Any = NoModel()
    loaded = LoadedModel(model, context, Sampling(), frozenset(), torch.device("cpu"), torch.float32)
    kernels: Any = NoKernels()
    runner = GraphRunner(loaded, settings, NoDevice(rows), kernels, ahead=1)
    timed = Timed(runner)
    limits = Limits(context, max_running=rows, step_tokens=1 << 20, ahead=runner.ahead, partial_prefills=rows)
    pool = BlockPool(runner.pages_total, PAGE)
    scheduler = Scheduler(limits, pool, _reply, lambda: 1)
    stepper = Stepper(scheduler, timed, time.monotonic)  # type: ignore[arg-type]
    sampling = Sampling(temperature=0, ignore_eos=True)
    for number in range(rows):
        # Of any length: each step some rows come to a new page.
        prompt = [(number + place) % VOCAB for place in range(PROMPT - number % PAGE)]
        request = EngineRequest(f"r{number}", prompt, "", sampling, session=f"s{number}")
        scheduler.enter(scheduler.prepare(request, lambda output: None, 0.0))
    for _ in range(20):
        stepper.step()
        scheduler.outputs.clear()
    gc.collect()
    gc.freeze()
    return stepper, timed


class NoKernels:
    def tiles(self, spans: object, group: int) -> list[tuple[int, int, int, int]]:
        return []


def _reply(request: EngineRequest, most: int) -> Reply:
    return Reply(ByteStream(TEXTS), request.sampling, most, frozenset())


def measured(stepper: Stepper, timed: Timed, steps: int) -> tuple[list[float], list[float]]:
    """Seconds of each step, and of the runner in it."""
    whole: list[float] = []
    own: list[float] = []
    for _ in range(steps):
        began = time.perf_counter()
        stepper.step()
        whole.append(time.perf_counter() - began)
        own.append(timed.took_s)
        stepper._scheduler.outputs.clear()
    return whole, own


if __name__ == "__main__":
    sys.exit(main())
