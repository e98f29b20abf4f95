"""How fast is it on this GPU? Needs torch, Triton and transformers, and nothing else.

    python -m scripts.gpu_bench [--shapes llama-3-8b …] [--opponent llama-3-8b] [--json FILE]
    python -m scripts.gpu_bench --weights int8 fp8 --kv auto fp8 --model FOLDER     # fewer bits, and what they cost
    python -m scripts.gpu_bench --device cpu --interpret --shapes tiny     # a dry run; its figures say nothing

Models of known shapes with random weights, greedy; in bfloat16 unless asked for less. The bandwidth of a decode step is
what it must read (weights, and the keys and values of every context) over its time, as a share of what a copy on this
device reaches. The opponent is transformers' own continuous batching on the same shape in the same run. Each row is
written down as soon as it is known; what there is no time for says so.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

from scripts.gpu_goals import SHARE, TIMES, verdicts
from scripts.gpu_opponent import CONFIGURATIONS, Opponent
from scripts.gpu_report import machine, options, prepare, table
from scripts.gpu_rows import Figures, Rows
from scripts.gpu_steps import Sizes, copied_bytes_a_second, decode, fill, graph_runner, moved
from scripts.gpu_streams import cancel, engine_on, fourth_turn, serve

SHAPES = ["llama-3-8b", "qwen3-0.6b", "llama-3-1b", "smollm2-135m"]
FULL = Sizes(
    ((1, 1024), (32, 4096), (128, 1024), (1, 8192), (8, 4096)),
    60,
    8192,
    2048,
    (32, 64, 128),
    64,
    256,
    4 << 30,
)
DRY = Sizes(((1, 64), (2, 40)), 3, 12, 16, (2,), 4, 4, 1 << 20, text=10, turn=4)


def main() -> int:
    parser = options("gpu_bench", __doc__)
    parser.add_argument("--shapes", nargs="+", help=f"by default {' '.join(SHAPES)}")
    parser.add_argument("--ahead", type=int, default=1, help="decode steps sent before they are asked for")
    parser.add_argument(
        "--opponent", nargs="*", help="shapes to give to transformers too; by default the first"
    )
    given = parser.parse_args()
    prepare(given)
    given.shapes = given.shapes or (SHAPES if given.device == "cuda" else ["tiny"])
    given.opponent = given.shapes[:1] if given.opponent is None else given.opponent
    about = machine(given.device)
    print(*(f"{name}={value}" for name, value in about.items()))
    rows = Rows(given, about)
    sizes = FULL if given.device == "cuda" else DRY
    copy = rows.take("copy", lambda: {"GB/s": copied_bytes_a_second(given.device, sizes) / 1e9})
    asked = list(product(given.weights or ["bfloat16"], given.kv or ["auto"]))
    for shape in given.shapes:
        for weights, kv in asked:
            name = shape if (weights, kv) == ("bfloat16", "auto") else f"{shape}, {weights}, keys {kv}"
            measure(rows, Subject(name, shape, weights, kv, given, sizes), copy.get("GB/s", 0.0) * 1e9)
        if shape in given.opponent and "bfloat16" in (given.weights or ["bfloat16"]):
            measure_opponent(rows, shape, given.device, sizes)
    if given.model is not None:
        from scripts.gpu_quality import qualities

        kinds = given.weights or [], given.kv or []
        rows.take(
            given.model.name, lambda: dict(qualities(given.model, given.device, *kinds, sizes.text).items())
        )
    show(rows, given.shapes[0])
    return 0


@dataclass(slots=True)
class Subject:
    """A model to measure, made when the first row asks for it."""

    name: str
    shape: str
    weights: str
    kv: str
    given: argparse.Namespace
    sizes: Sizes
    _made: tuple[Any, int, Any, list[float]] | None = None
    _engine: Any = None
    _loop: asyncio.AbstractEventLoop | None = None

    def made(self) -> tuple[Any, int, Any, list[float]]:
        """Model, the weights that a step reads in bytes, runner, and its waits."""
        import torch

        from scripts.gpu_shapes import random_model

        if self._made is None:
            device = torch.device(self.given.device)
            dtype = torch.bfloat16 if self.given.device == "cuda" else torch.float32
            loaded, weight_bytes = random_model(self.shape, device, dtype, self.weights)
            runner, waits = graph_runner(loaded, self.given, self.sizes, self.kv)
            fill(runner)
            self._made = loaded, weight_bytes, runner, waits
        return self._made

    def stream(self, work: Any) -> Figures:
        """What `work` finds, given an engine on the runner. No row on the runner alone may follow."""
        loaded, _, runner, _ = self.made()
        if self._engine is None:
            self._loop = asyncio.new_event_loop()
            self._engine = engine_on(runner, loaded, self.sizes)
            self._engine.start(self._loop)
        assert self._loop is not None
        figures: Figures = self._loop.run_until_complete(work(self._engine))
        return figures

    def close(self) -> None:
        if self._loop is not None:
            self._loop.run_until_complete(self._engine.close())
            self._loop.close()
        elif self._made is not None:
            self._made[2].close()
        self._made = self._engine = self._loop = None
        gc.collect()
        if self.given.device == "cuda":
            import torch

            torch.cuda.empty_cache()


def measure(rows: Rows, subject: Subject, copy: float) -> None:
    """`copy`: bytes a second."""
    sizes, name = subject.sizes, subject.name
    rows.take(f"{name}: start", lambda: start(subject))
    for batch, context in sizes.decodes:
        rows.take(f"{name}: decode {batch} x {context:,}", partial(decode_row, subject, batch, context, copy))
    rows.take(f"{name}: moved pages", lambda: dict(moved(subject.made()[2], sizes, subject.given.device)))
    for streams in sizes.streams:
        rows.take(
            f"{name}: {streams} streams",
            partial(streams_row, subject, streams),
        )
    rows.take(
        f"{name}: turn 4 of a chat with {sizes.history:,} tokens",
        lambda: subject.stream(lambda engine: fourth_turn(engine, sizes)),
    )
    rows.take(f"{name}: cancel", lambda: subject.stream(cancel))
    try:
        subject.close()
    except Exception as error:  # after a row that failed
        print(f"{name} did not close: {error}", flush=True)


def start(subject: Subject) -> Figures:
    began = time.perf_counter()
    _, weight_bytes, runner, _ = subject.made()
    replays = runner._replays
    found: Figures = {f"a step of {rows} goes": way for rows, way in sorted(replays.ways.items())}
    found |= {f"a step of 1, {way}, ms": took * 1e3 for way, took in replays.seconds.get(1, {}).items()}
    return found | {
        "made in, s": time.perf_counter() - began,
        "weights a step reads, GB": weight_bytes / 1e9,
        "tokens of context there is room for": float(runner.pages_total * runner.page_tokens),
    }


def decode_row(subject: Subject, batch: int, context: int, copy: float) -> Figures:
    from engine.form import kv_dtype_of
    from engine.paged_cache import token_bytes

    loaded, weight_bytes, runner, waits = subject.made()
    step_s, python_s = decode(runner, waits, batch, context, subject.sizes)
    each = token_bytes(loaded.model.shapes, kv_dtype_of(subject.kv, loaded.dtype))
    read = (weight_bytes + batch * context * each) / step_s
    found: Figures = {
        "step ms": step_s * 1e3,
        "GB/s": read / 1e9,
        "runner's Python ms a step": python_s * 1e3,
    }
    return found | ({SHARE: read / copy} if copy else {})


def streams_row(subject: Subject, streams: int) -> Figures:
    waits = subject.made()[3]
    return subject.stream(lambda engine: serve(engine, waits, streams, subject.sizes))


def measure_opponent(rows: Rows, shape: str, device: str, sizes: Sizes) -> None:
    made: list[Opponent] = []

    def rate(configuration: str, streams: int) -> float:
        if not made:
            made.append(Opponent(shape, device))
        return made[0].rate(configuration, streams, sizes)

    def alone(configuration: str) -> Figures:
        return {"tokens/s": rate(configuration, least)}

    least = min(sizes.streams)
    for configuration in CONFIGURATIONS:
        rows.take(
            f"{shape}: transformers {configuration}, {least} streams",
            partial(alone, configuration),
        )
    rates = {
        configuration: rows.found[f"{shape}: transformers {configuration}, {least} streams"].get(
            "tokens/s", 0.0
        )
        for configuration in CONFIGURATIONS
    }
    best = max(rates, key=lambda configuration: rates[configuration])
    for streams in dict.fromkeys((least, max(sizes.streams))):

        def compared(streams: int = streams) -> Figures:
            if not rates[best]:
                raise RuntimeError("none of its configurations worked")
            theirs = rates[best] if streams == least else rate(best, streams)
            ours = rows.found.get(f"{shape}: {streams} streams", {}).get("tokens/s", 0.0)
            return {"tokens/s": theirs, TIMES: ours / theirs, "which": best}

        rows.take(f"{shape}: transformers, {streams} streams", compared)
    made.clear()
    gc.collect()
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()


def show(rows: Rows, model: str) -> None:
    lines = [("row", "figure", "value")]
    for row, figures in rows.found.items():
        lines += [(row, name, shown(value)) for name, value in figures.items() if name != "took_s"]
    print(table(lines))
    print()
    goals = [
        *verdicts(model, rows.found),
        ("greedy equals `generate`, fp32 and bf16", "", "", "see gpu_test"),
    ]
    print(table([(f"goal, {model}", "measured", "limit", ""), *goals]))


def shown(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.3g}" if value < 100 else f"{value:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
