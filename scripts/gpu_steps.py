"""A decode step and a kept turn on the runner itself, with no engine around it, and what a copy reaches."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from engine.cuda.runner import GraphRunner


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
    text: int = 1024  # tokens that quality is judged by
    turn: int = 64  # new tokens behind a history


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


def graph_runner(loaded: Any, given: Any, sizes: Sizes, kv: str) -> tuple[GraphRunner, list[float]]:
    """A runner, and where it notes how long it waited for the device."""
    import torch

    from engine.config import EngineSettings
    from engine.cuda.device import CudaDevice, Device
    from engine.cuda.processor import ProcessorDevice
    from engine.cuda.runner import GraphRunner
    from engine.cuda.triton_kernels import TritonKernels
    from engine.paged_cache import token_bytes

    gc.collect()
    if given.device == "cuda":
        torch.cuda.empty_cache()  # what is only kept for later counts as taken where memory is shared out
    device: Device = CudaDevice(torch.device("cuda")) if given.device == "cuda" else ProcessorDevice()
    settings = EngineSettings(
        device=given.device,
        kv_dtype=kv,
        page_tokens=sizes.page_tokens,
        max_running=max(max(sizes.streams), *(rows for rows, _ in sizes.decodes)),
        kv_bytes=0 if given.device == "cuda" else 4 << 20,
        # Room for the history of `chat`, as its pages would be without fewer bits, and some more.
        host_kv_bytes=2 * sizes.history * token_bytes(loaded.model.shapes, loaded.dtype),
    )
    waits: list[float] = []
    kernels = TritonKernels(device.processors, loaded.context_tokens, device.overlaps)
    return GraphRunner(loaded, settings, Watched(device, waits), kernels, given.ahead), waits


def fill(runner: GraphRunner) -> None:
    """Contexts that nobody has computed."""
    import torch

    with torch.inference_mode():
        for pool in runner._cache.pools:
            if pool.dtype == torch.float8_e4m3fn:
                pool.view(torch.uint8).random_(0, 127)  # all but what is no number
            else:
                pool.normal_(0, 0.5)
        for scales in runner._cache.scales:
            scales.fill_(1 / 448)


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
    if rows * each > runner.pages_total:
        raise MemoryError(f"{rows * each} pages are needed, and there are {runner.pages_total}")
    greedy = Sampling(temperature=0)
    asked = [
        Row([7], context - 1, list(range(row * each, (row + 1) * each)), greedy, 0, True)
        for row in range(rows)
    ]
    steps: list[float] = []
    waits.clear()
    for position in range(context - 1, context - 1 + sizes.steps):
        began = time.perf_counter()
        results = runner.step(asked)
        steps.append(time.perf_counter() - began)
        for row, result in zip(asked, results, strict=True):
            if not isinstance(result, int):
                raise RuntimeError(f"a row's result is {result!r}")
            row.tokens, row.start = [result], position + 1
    warm = sizes.steps // 6
    own = [step - wait for step, wait in zip(steps, waits, strict=True)]
    return statistics.median(steps[warm:]), statistics.median(own[warm:])


def moved(runner: GraphRunner, sizes: Sizes, device: str) -> dict[str, float]:
    """A turn whose history waits on the GPU, or in the host's memory, against computing it anew."""
    from engine.batch import Row
    from engine.moves import Moves
    from engine.request import Sampling

    greedy = Sampling(temperature=0)
    pages = list(range(-(-(sizes.history + sizes.turn + 16) // sizes.page_tokens)))

    def prefill(start: int, end: int) -> None:
        for first in range(start, end, sizes.chunk):
            last = min(end, first + sizes.chunk)
            tokens = [first + n & 127 for n in range(last - first)]
            runner.step([Row(tokens, first, pages, greedy, 0, last == end)])

    prefill(0, sizes.history)  # compiles what it needs
    anew = timed(lambda: prefill(0, sizes.history + sizes.turn), device)
    kept = timed(lambda: prefill(sizes.history, sizes.history + sizes.turn), device)
    mover = runner.mover
    assert mover is not None
    away = list(enumerate(pages[: -(-sizes.history // sizes.page_tokens)]))  # (host page, page)
    left = timed(lambda: mover.send(Moves(out=[(page, host) for host, page in away])).synchronize(), device)

    def come_back() -> None:
        mover.send(Moves(back=away)).synchronize()
        prefill(sizes.history, sizes.history + sizes.turn)

    back = timed(come_back, device)
    return {
        "first token anew, ms": anew * 1e3,
        "prompt tokens/s": (sizes.history + sizes.turn) / anew,
        "kept, ms": kept * 1e3,
        "kept of anew": kept / anew,
        "brought back, ms": back * 1e3,
        "brought back of anew": back / anew,
        "moving out, GB/s": len(away) * mover.page_bytes / left / 1e9,
    }
