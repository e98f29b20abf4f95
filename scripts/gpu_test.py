"""Is everything right on this GPU? Needs torch, Triton and transformers, and nothing else.

    python -m scripts.gpu_test [--cases 200] [--weights int8 fp8] [--kv fp8] [--json FILE]
    python -m scripts.gpu_test --device cpu --interpret --cases 2 --families llama      # a dry run

Kernels against float64 over random shapes and fresh inputs, everything they should not read poisoned; tiny models of
every family against `generate`, greedy in float32, token for token, in a batch whose rows come and go; seeds against
the runner without graphs; weights in 8 bits and keys and values in fp8 the same way. In bfloat16 replies may leave
`generate`'s where two logits are nearly the same: the gap is shown, and must be below 0.01 of the largest. With
`--model FOLDER` that model too, and what fewer bits cost it. Each check is written down as soon as it has ended.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.gpu_bfloat16 import random_in_bfloat16, real_in_bfloat16
from scripts.gpu_narrow import narrow_checks
from scripts.gpu_report import machine, options, prepare, table
from scripts.gpu_rows import Figures, Rows
from scripts.gpu_sweep import Sweep

if TYPE_CHECKING:
    from engine.cuda.device import Device
    from engine.cuda.runner import GraphRunner
    from engine.linear import Narrow
    from tests.engine.driving import Run

LONGEST = 4097


def main() -> int:
    parser = options("gpu_test", __doc__)
    parser.add_argument("--cases", type=int, default=200, help="random shapes of each kernel, at the most")
    parser.add_argument("--sweep-seconds", type=float, default=12.0, help="after which none of them begins")
    parser.add_argument("--longest", type=int, default=LONGEST, help="tokens of the longest context")
    parser.add_argument("--families", nargs="*", help="tiny models to compare; all if none is named")
    given = parser.parse_args()
    prepare(given)
    given.weights = ["int8", "fp8"] if given.weights is None else given.weights
    given.kv = ["fp8"] if given.kv is None else given.kv
    about = machine(given.device)
    print(*(f"{name}={value}" for name, value in about.items()))
    rows = Rows(given, about)
    sweep = Sweep(given.cases, given.sweep_seconds)
    for name, check in (
        *checks_of(given.device, sweep, given.longest),
        *narrow_checks(given, sweep),
        *families(given),
    ):
        rows.take(name, lambda check=check: {"detail": check()})  # type: ignore[misc]
    lines = [(name, *verdict(figures)) for name, figures in rows.found.items()]
    print(table([("check", "", "took", ""), *lines]))
    return 0 if all("detail" in figures for figures in rows.found.values()) else 1


def verdict(figures: Figures) -> tuple[str, str, str]:
    """Whether it passed, how long it took, and what there is to say."""
    if "skipped" in figures:
        return "SKIPPED", "", figures["skipped"]
    took = f"{figures.get('took_s', 0.0):.1f} s"
    return ("ok", took, figures["detail"]) if "detail" in figures else ("FAILED", took, figures["error"])


def checks_of(device: str, sweep: Sweep, longest: int) -> Iterator[tuple[str, Callable[[], str]]]:
    """The kernels, each in every type that the device has."""
    import torch

    from tests.engine.cuda.few_cases import check_few, check_few_added, check_few_gated
    from tests.engine.cuda.kernel_cases import (
        check_decoding,
        check_gate,
        check_norm,
        check_prefill,
        check_store,
        random_case,
    )

    dtypes = [torch.float32, torch.float16] + [torch.bfloat16] * (device == "cuda")
    overlaps = place_of(device).overlaps
    for kernel in (check_decoding, check_prefill):
        for dtype in dtypes:

            def attends(kernel: Callable[..., None] = kernel, dtype: torch.dtype = dtype) -> str:
                return sweep(lambda seed: kernel(random_case(1000 + seed, longest), dtype, device))

            yield f"{kernel.__name__.removeprefix('check_')} {dtype}".replace("torch.", ""), attends
    for dtype in dtypes:

        def stores(dtype: torch.dtype = dtype) -> str:
            def one(seed: int) -> None:
                case = random_case(seed, 50)
                check_store(case, dtype, device, turned=bool(seed % 2), normed=bool(seed % 3))

            return sweep(one)

        yield f"store {dtype}".replace("torch.", ""), stores

        def between(dtype: torch.dtype = dtype) -> str:
            def one(seed: int) -> None:
                size, rows = 1 + seed * 7919 % 9000, 3 + seed % 5
                check_norm(size, rows, dtype, device, seed, summed=bool(seed % 2))
                check_gate(size, rows, dtype, device, seed, gelu=bool(seed % 2))

            return sweep(one)

        yield f"norms and gates {dtype}".replace("torch.", ""), between

        def few(dtype: torch.dtype = dtype) -> str:
            def one(seed: int) -> None:
                early = overlaps and seed % 2 == 0
                for check in (check_few, check_few_gated, check_few_added):
                    check(seed, dtype, device, 1 + seed % 4, early)

            return sweep(one)

        yield f"few rows {dtype}".replace("torch.", ""), few


def families(given: Any) -> Iterator[tuple[str, Callable[[], str]]]:
    from tests.engine.tiny_models import GENERIC, LEAN

    device: str = given.device
    for family in given.families or [*LEAN, *GENERIC]:
        yield f"{family} greedy", lambda family=family: greedy(family, device)  # type: ignore[misc]
    yield "ways of a step", lambda: ways(device)
    yield "seeds", lambda: seeds(device)
    yield "pages out and back", lambda: pages_out_and_back(device)
    for family in ("llama", "qwen3"):
        yield f"{family} in bfloat16", lambda family=family: random_in_bfloat16(family, device)  # type: ignore[misc]
    if given.model is not None:
        yield "bfloat16", lambda: real_in_bfloat16(given.model, device)


def ways(device: str) -> str:
    """Replayed many times, for what does not wait for another kernel goes wrong by chance."""
    import torch

    from scripts.gpu_ways import ways_agree

    place = place_of(device)
    if device != "cuda":
        return ways_agree(place, "tiny", torch.float32, "int8", 1)
    found = []
    for shape, dtype, kept in (
        ("smollm2-135m", torch.float32, "bfloat16"),
        ("qwen3-0.6b", torch.bfloat16, "bfloat16"),
        ("qwen3-0.6b", torch.bfloat16, "int8"),
        ("tiny", torch.float32, "bfloat16"),
    ):
        found.append(f"{shape} {ways_agree(place, shape, dtype, kept, 50)}")
    return "; ".join(found)


def place_of(device: str) -> Device:
    import torch

    from engine.cuda.device import CudaDevice
    from engine.cuda.processor import ProcessorDevice

    return CudaDevice(torch.device("cuda")) if device == "cuda" else ProcessorDevice()


def greedy(family: str, device: str) -> str:
    from tests.engine.driving import drive, staggered
    from tests.engine.tiny_models import generated, save_tiny

    count = 24 if device == "cuda" else 3
    with tempfile.TemporaryDirectory() as work:
        folder = save_tiny(family, Path(work))
        compared = 0
        for ahead in (0, 1, 4) if device == "cuda" else (1,):
            runner = graph_runner(folder, device, ahead)
            runs = staggered(runner.pages_total, 5, count)
            expected = [generated(folder, one.prompt, count) for one in runs]
            assert drive(runner, runs) == expected
            compared += sum(map(len, expected))
            runner.close()
    return f"{compared} tokens equal"


def seeds(device: str) -> str:
    from engine.config import EngineSettings
    from engine.models import load_model
    from engine.runner import TorchRunner
    from tests.engine.driving import drive, sampled_runs
    from tests.engine.tiny_models import save_tiny

    with tempfile.TemporaryDirectory() as work:
        folder = save_tiny("qwen3", Path(work))
        settings = EngineSettings(device=device, dtype="float32", page_tokens=4, kv_bytes=4 << 20)
        runner = graph_runner(folder, device, 1)
        found = drive(runner, shorter(sampled_runs(runner.pages_total), device))
        plain = TorchRunner(load_model(folder, settings), settings)
        expected = drive(plain, shorter(sampled_runs(runner.pages_total), device))
    assert found == expected, (found, expected)
    return f"{sum(map(len, found))} tokens equal"


def pages_out_and_back(device: str) -> str:
    """Pages leave for the host's memory and come back elsewhere while others are written, to the bit."""
    import torch

    from engine.cuda.mover import PageMover
    from engine.moves import Moves

    place = place_of(device)
    count = 512 if device == "cuda" else 6
    pools = [torch.randn(16, 3 * count, 16, 128, device=place.torch, dtype=torch.bfloat16) for _ in range(4)]
    before = [pool[:, :count].clone() for pool in pools]
    mover = PageMover(pools, count, place)
    half = count // 2
    for pool in pools:
        pool[:, half:count].copy_(pool[:, half:count].clone())  # still on its way when the pages leave
    out = [(page, count - 1 - page) for page in range(count)]
    mover.send(Moves(at_once=out[:half], out=out[half:]))
    back = mover.send(Moves(back=[(host, count + page) for page, host in out]))
    for pool in pools:
        pool[:, 2 * count :].normal_()  # beside it
    back.synchronize()
    for pool, kept in zip(pools, before, strict=True):
        assert torch.equal(pool[:, count : 2 * count], kept)
    return f"{count} pages of {mover.page_bytes} bytes"


def shorter(runs: list[Run], device: str) -> list[Run]:
    for one in runs:
        one.count = one.count if device == "cuda" else 3
    return runs


def graph_runner(folder: Path, device: str, ahead: int, narrow: Narrow | None = None) -> GraphRunner:
    """On the GPU, or its stand-in."""
    from engine.config import EngineSettings
    from engine.cuda.runner import GraphRunner
    from engine.cuda.triton_kernels import TritonKernels
    from engine.models import load_model

    place = place_of(device)
    rows = 12 if device == "cuda" else 4
    settings = EngineSettings(
        device=device, dtype="float32", page_tokens=4, kv_bytes=4 << 20, max_running=rows
    )
    kernels = TritonKernels(place.processors, 128, place.overlaps)
    return GraphRunner(load_model(folder, settings, narrow), settings, place, kernels, ahead)


if __name__ == "__main__":
    sys.exit(main())
