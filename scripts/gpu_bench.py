"""How fast is it on this GPU? Needs torch, Triton and transformers, and nothing else.

    python -m scripts.gpu_bench [--shapes llama-3-8b …] [--no-opponent] [--json FILE]
    python -m scripts.gpu_bench --weights int8 fp8 --kv auto fp8 --model FOLDER     # fewer bits, and what they cost
    python -m scripts.gpu_bench --device cpu --interpret --shapes tiny     # a dry run; its figures say nothing

Models of known shapes with random weights, greedy; in bfloat16 unless asked for less. The bandwidth of a decode step is
what it must read (weights, and the keys and values of every context) over its time, as a share of what a copy on this
device reaches. The opponent is transformers' own continuous batching on the same shape in the same run.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from dataclasses import dataclass
from itertools import product
from typing import Any

from scripts.gpu_report import machine, options, prepare, table, write
from scripts.gpu_steps import Sizes, chat, copied_bytes_a_second, decode, fill, graph_runner
from scripts.gpu_streams import cancel, serve

SHAPES = ["llama-3-8b", "llama-3-1b", "qwen3-0.6b", "smollm2-135m"]


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
DRY = Sizes(((1, 64), (2, 40)), 3, 8, 16, (2,), 4, 4, 1 << 20, text=10, turn=4)


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
    for shape, weights, kv in product(given.shapes, given.weights or ["bfloat16"], given.kv or ["auto"]):
        name = shape if (weights, kv) == ("bfloat16", "auto") else f"{shape}, {weights}, keys {kv}"
        print(name, flush=True)
        figures[name] = measured(Asked(shape, weights, kv), given, sizes, copy)
    if given.model is not None:
        from scripts.gpu_quality import qualities

        kinds = given.weights or [], given.kv or []
        figures[given.model.name] = qualities(given.model, given.device, *kinds, sizes.text)
    write(given.json, {"machine": about, "figures": figures})
    rows = [("figure", "value"), ("copy, GB/s", f"{figures.pop('copy_gb_s'):.0f}")]
    for what, found in figures.items():
        rows += [(f"{what}: {name}", shown(value)) for name, value in found.items()]
    print(table(rows))
    return 0


def shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.3g}" if value < 100 else f"{value:,.0f}"


@dataclass(frozen=True, slots=True)
class Asked:
    """One of the models to measure."""

    shape: str
    weights: str
    kv: str


def measured(asked: Asked, given: Any, sizes: Sizes, copy: float) -> dict[str, float | str]:
    import torch

    from engine.form import kv_dtype_of
    from engine.paged_cache import token_bytes
    from scripts.gpu_shapes import random_model

    device = torch.device(given.device)
    dtype = torch.bfloat16 if given.device == "cuda" else torch.float32
    loaded, weight_bytes = random_model(asked.shape, device, dtype, asked.weights)
    began = time.perf_counter()
    runner, waits = graph_runner(loaded, given, sizes, asked.kv)
    found: dict[str, float | str] = {"graphs made in, s": time.perf_counter() - began}
    fill(runner)
    each = token_bytes(loaded.model.shapes, kv_dtype_of(asked.kv, dtype))
    for rows, context in sizes.decodes:
        if rows * (context + sizes.steps) > runner.pages_total * sizes.page_tokens:
            continue
        step_s, python_s = decode(runner, waits, rows, context, sizes)
        read = (weight_bytes + rows * context * each) / step_s
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
        runner, waits = graph_runner(loaded, given, sizes, asked.kv)  # an engine closes its runner
    found["a cancel's pages are free after, steps"] = asyncio.run(cancel(runner, loaded, sizes))
    del runner, loaded, waits
    gc.collect()
    if given.device == "cuda":
        torch.cuda.empty_cache()
        if not given.no_opponent and asked.weights == "bfloat16":
            found |= opponent(asked.shape, sizes, found)
    return found


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
