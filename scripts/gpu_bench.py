"""How fast is it on this GPU? Needs torch, Triton and transformers, and nothing else.

    python -m scripts.gpu_bench [--shapes llama-3-8b …] [--no-opponent] [--json FILE]
    python -m scripts.gpu_bench --device cpu --interpret --shapes tiny     # a dry run; its figures say nothing

Models of known shapes with random weights, bfloat16, greedy. The bandwidth of a decode step is what it must read
(weights, and the keys and values of every context) over its time, as a share of what a copy on this device reaches.
The opponent is transformers' own continuous batching on the same shape in the same run.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.gpu_report import machine, options, prepare, table, write

if TYPE_CHECKING:
    import torch

    from engine.cuda.runner import GraphRunner

SHAPES = ["llama-3-8b", "llama-3-1b", "qwen3-0.6b", "smollm2-135m"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    decodes: tuple[tuple[int, int], ...]  # rows, context
    steps: int
    history: int
    chunk: int
    streams: tuple[int, ...]
    prompt: int
    output: int
    copied_bytes: int
    page_tokens: int = 16


FULL = Sizes(
    ((1, 1024), (1, 8192), (8, 4096), (32, 4096), (128, 1024)),
    60,
    8192,
    2048,
    (32, 64, 128),
    64,
    256,
    4 << 30,
)
DRY = Sizes(((1, 64), (2, 40)), 3, 64, 32, (2,), 4, 4, 1 << 20)


def main() -> int:
    parser = options("gpu_bench", __doc__)
    parser.add_argument("--shapes", nargs="+", help=f"by default {' '.join(SHAPES)}")
    parser.add_argument("--ahead", type=int, default=1, help="decode steps sent before they are asked for")
    parser.add_argument("--no-opponent", action="store_true", help="leave transformers out")
    given = parser.parse_args()
    prepare(given)
    given.shapes = given.shapes or (SHAPES if given.device == "cuda" else ["tiny"])
    about = machine(given.device)
    print(*(f"{name}={value}" for name, value in about.items()))
    sizes = FULL if given.device == "cuda" else DRY
    copy = copied_bytes_a_second(given.device, sizes)
    figures: dict[str, Any] = {"copy_gb_s": copy / 1e9}
    for shape in given.shapes:
        print(shape, flush=True)
        figures[shape] = measured(shape, given, sizes, copy)
    write(given.json, {"machine": about, "figures": figures})
    rows = [("figure", "value"), ("copy, GB/s", f"{copy / 1e9:.0f}")]
    for shape in given.shapes:
        rows += [(f"{shape}: {name}", shown(value)) for name, value in figures[shape].items()]
    print(table(rows))
    return 0


def shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.3g}" if value < 100 else f"{value:,.0f}"


def copied_bytes_a_second(device: str, sizes: Sizes) -> float:
    """Read and written, the best of several copies."""
    import torch

    source = torch.ones(sizes.copied_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = min(timed(lambda: target.copy_(source), device) for _ in range(10))
    return 2 * sizes.copied_bytes / best


def timed(work: Callable[[], object], device: str) -> float:
    """Seconds, with everything that the device had to do."""
    finish(device)
    began = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - began


def finish(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def measured(shape: str, given: Any, sizes: Sizes, copy: float) -> dict[str, float | str]:
    import torch

    from scripts.gpu_shapes import random_model

    device = torch.device(given.device)
    dtype = torch.bfloat16 if given.device == "cuda" else torch.float32
    loaded, weight_bytes = random_model(shape, device, dtype)
    began = time.perf_counter()
    runner, waits = graph_runner(loaded, given, sizes)
    found: dict[str, float | str] = {"graphs made in, s": time.perf_counter() - began}
    with torch.inference_mode():
        for pool in runner._cache.pools:
            pool.normal_(0, 0.5)  # contexts that nobody has computed
    token_bytes = 2 * sum(s.kv_heads * s.head_dim for s in loaded.model.shapes) * dtype.itemsize
    for rows, context in sizes.decodes:
        if rows * (context + sizes.steps) > runner.pages_total * sizes.page_tokens:
            continue
        step_s, python_s = decode(runner, waits, rows, context, sizes)
        read = (weight_bytes + rows * context * token_bytes) / step_s
        name = f"{rows} x {context:,}"
        found |= {
            f"{name}, step ms": step_s * 1e3,
            f"{name}, of the copy's bandwidth": read / copy,
            f"{name}, Python ms a step": python_s * 1e3,
        }
    found |= chat(runner, sizes, given.device)
    for streams in sizes.streams:
        rate, lag = asyncio.run(serve(runner, loaded, streams, sizes))
        found[f"{streams} streams, tokens/s"] = rate
        found[f"{streams} streams, event-loop lag p99 ms"] = lag
        runner, waits = graph_runner(loaded, given, sizes)  # an engine closes its runner
    found["a cancel's pages are free after, steps"] = asyncio.run(cancel(runner, loaded, sizes))
    del runner, loaded, waits
    gc.collect()
    if given.device == "cuda":
        torch.cuda.empty_cache()
        if not given.no_opponent:
            found |= opponent(shape, sizes, found)
    return found


def graph_runner(loaded: Any, given: Any, sizes: Sizes) -> tuple[GraphRunner, list[float]]:
    """A runner, and where it notes how long it waited for the device."""
    import torch

    from engine.config import EngineSettings
    from engine.cuda.device import CudaDevice, Device
    from engine.cuda.processor import ProcessorDevice
    from engine.cuda.runner import GraphRunner
    from engine.cuda.triton_kernels import TritonKernels

    gc.collect()
    device: Device = CudaDevice(torch.device("cuda")) if given.device == "cuda" else ProcessorDevice()
    settings = EngineSettings(
        device=given.device,
        page_tokens=sizes.page_tokens,
        max_running=max(max(sizes.streams), *(rows for rows, _ in sizes.decodes)),
        kv_bytes=0 if given.device == "cuda" else 4 << 20,
    )
    waits: list[float] = []
    kernels = TritonKernels(device.processors, loaded.context_tokens)
    return GraphRunner(loaded, settings, Watched(device, waits), kernels, given.ahead), waits


class Watched:
    """A device whose waits are timed."""

    def __init__(self, device: Any, waits: list[float]) -> None:
        self._device, self._waits = device, waits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def fetch(self, values: torch.Tensor) -> Watched.Pending:
        return Watched.Pending(self._device.fetch(values), self._waits)

    class Pending:
        def __init__(self, pending: Any, waits: list[float]) -> None:
            self._pending, self._waits = pending, waits

        def wait(self) -> list[int]:
            began = time.perf_counter()
            values: list[int] = self._pending.wait()
            self._waits.append(time.perf_counter() - began)
            return values


def decode(
    runner: GraphRunner, waits: list[float], rows: int, context: int, sizes: Sizes
) -> tuple[float, float]:
    """Median seconds of a step, and of the Python in it."""
    from engine.batch import Row
    from engine.request import Sampling

    each = -(-(context + sizes.steps + 2) // sizes.page_tokens)
    pages = [list(range(row * each, (row + 1) * each)) for row in range(rows)]
    greedy, tokens = Sampling(temperature=0), [7] * rows
    steps: list[float] = []
    waits.clear()
    for position in range(context - 1, context - 1 + sizes.steps):
        asked = [
            Row([token], position, own, greedy, 0, True) for token, own in zip(tokens, pages, strict=True)
        ]
        began = time.perf_counter()
        results = runner.step(asked)
        steps.append(time.perf_counter() - began)
        tokens = [result if isinstance(result, int) else 7 for result in results]
    warm = sizes.steps // 6
    own = [step - wait for step, wait in zip(steps, waits, strict=True)]
    return statistics.median(steps[warm:]), statistics.median(own[warm:])


def chat(runner: GraphRunner, sizes: Sizes, device: str) -> dict[str, float | str]:
    """A turn whose history is kept, against computing it anew."""
    from engine.batch import Row
    from engine.request import Sampling

    greedy, pages = Sampling(temperature=0), list(range(-(-(sizes.history + 80) // sizes.page_tokens)))

    def prefill(start: int, end: int) -> None:
        for first in range(start, end, sizes.chunk):
            last = min(end, first + sizes.chunk)
            tokens = [first + n & 127 for n in range(last - first)]
            runner.step([Row(tokens, first, pages, greedy, 0, last == end)])

    prefill(0, sizes.history)  # compiles what it needs
    anew = timed(lambda: prefill(0, sizes.history + 64), device)
    kept = timed(lambda: prefill(sizes.history, sizes.history + 64), device)
    name = f"first token behind {sizes.history:,}"
    return {
        f"{name}, anew, ms": anew * 1e3,
        f"{name}, kept, ms": kept * 1e3,
        f"{name}, kept of anew": kept / anew,
    }


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


def opponent(shape: str, sizes: Sizes, ours: dict[str, float | str]) -> dict[str, float | str]:
    """transformers' continuous batching as it configures itself, for as many replies of the same length."""
    import torch
    import transformers

    from scripts.gpu_shapes import config_of

    found: dict[str, float | str] = {}
    hub: Any = transformers
    with torch.device("cuda"):
        model = hub.AutoModelForCausalLM.from_config(config_of(shape), dtype=torch.bfloat16).eval()
    asked = hub.GenerationConfig(
        max_new_tokens=sizes.output, do_sample=False, eos_token_id=-1, pad_token_id=0
    )
    for streams in sizes.streams:
        prompts = [[(n * 31 + place * 7) % 128 for place in range(sizes.prompt)] for n in range(streams)]
        name = f"{streams} streams, transformers' tokens/s"
        try:
            best = 0.0
            for _ in range(3):
                began = time.perf_counter()
                replies = model.generate_batch(prompts, generation_config=asked)
                took_s = time.perf_counter() - began
                best = max(best, sum(len(r.generated_tokens) for r in replies.values()) / took_s)
            found[name] = best
            rate = ours[f"{streams} streams, tokens/s"]
            assert isinstance(rate, float)
            found[f"{streams} streams, of transformers'"] = rate / best
        except Exception as error:  # whatever it is, our own figures stand
            found[name] = f"failed: {type(error).__name__}: {error}"[:200]
    del model
    gc.collect()
    torch.cuda.empty_cache()
    return found


if __name__ == "__main__":
    sys.exit(main())
