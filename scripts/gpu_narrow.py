"""The part of `gpu_test` about fewer bits: products with weights in 8 bits, models that have them, what they lose."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.gpu_sweep import Sweep

Check = tuple[str, Callable[[], str]]


def narrow_checks(given: Any, sweep: Sweep) -> Iterator[Check]:
    """Products of random shapes in every type that the device has, then whole models."""
    import torch

    from tests.engine.cuda.product_cases import check_any_rows, check_product, check_scaled, check_squeezed

    dtypes = [torch.float32, torch.float16] + [torch.bfloat16] * (given.device == "cuda")
    for dtype in dtypes:

        def products(dtype: torch.dtype = dtype) -> str:
            def one(seed: int) -> None:
                rows = random.Random(seed).choice((1, 2, 3, 4, 5, 16, 17, 64, 129, 300))
                check_any_rows(seed, dtype, given.device, rows)
                check_product(seed, dtype, given.device, rows=9, splits=1 + seed % 8)
                check_squeezed(seed, dtype, given.device)

            return sweep(one)

        yield f"products {dtype}".replace("torch.", ""), products

    def scaled() -> str:
        return sweep(lambda seed: check_scaled(seed, given.device, rows=16 + seed % 100))

    yield "products of fp8 with fp8", scaled
    for name in given.weights:
        yield f"{name} greedy", lambda name=name: greedy(name, given.device)  # type: ignore[misc]
    if given.model is not None:
        yield "quality", lambda: quality(given.model, given.device, given.weights, given.kv)


def greedy(name: str, device: str) -> str:
    """A tiny model whose matrices have 8 bits already says the same with them kept so."""
    import torch

    from engine.cuda.products import TritonProducts
    from engine.cuda.weights import NarrowWeights
    from scripts.gpu_test import graph_runner
    from tests.engine.cuda.product_cases import rounded
    from tests.engine.driving import Run, drive, prompts
    from tests.engine.tiny_models import generated, save_tiny

    processors = 2 if device == "cpu" else torch.cuda.get_device_properties(0).multi_processor_count
    count = 24 if device == "cuda" else 2
    with tempfile.TemporaryDirectory() as work:
        layers = {} if device == "cuda" else {"num_hidden_layers": 1}
        folder = rounded(save_tiny("qwen2", Path(work), tie_word_embeddings=False, **layers), name)
        runner = graph_runner(folder, device, 1, NarrowWeights(TritonProducts(processors), name))
        asked = prompts() if device == "cuda" else prompts()[:2]
        runs = [Run(prompt, list(range(20 * n, 20 * n + 20)), n, 5, count) for n, prompt in enumerate(asked)]
        expected = [generated(folder, run.prompt, count) for run in runs]
        assert drive(runner, runs) == expected
        runner.close()
    return f"{sum(map(len, expected))} tokens equal"


def quality(folder: Path, device: str, weights: Sequence[str], kv: Sequence[str]) -> str:
    """No more than a tenth of perplexity may be lost."""
    from scripts.gpu_quality import qualities

    found = qualities(folder, device, weights, kv, 1024)
    perplexities = {name: value for name, value in found.items() if name.endswith("perplexity")}
    worst = max(perplexities.values()) / next(iter(perplexities.values()))
    print(*(f"{name}: {value:.4g}" for name, value in found.items()), sep="\n")
    assert worst <= 1.1, f"the perplexity grows {worst:.3f} times"
    return f"the perplexity grows {worst:.3f} times at the most"
