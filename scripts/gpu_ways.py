"""Every way to compute a decode step of few rows, replayed with changing tokens, against the plain one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from engine.cuda.attention import Kernels
    from engine.cuda.device import Device
    from engine.models import LanguageModel

CONTEXT = 100  # tokens of each row
# Of all logits' length, at the most. In bfloat16 the plain way itself is 4 to 6 % from float32, with random weights.
LOST = {torch.float32: 1e-4, torch.bfloat16: 0.15}


def ways_agree(place: Device, shape: str, dtype: torch.dtype, kept: str, replays: int) -> str:
    """In the captured graphs of a device: a kernel that did not wait for what it reads would show as a difference."""
    from engine.cuda.triton_kernels import TritonKernels
    from scripts.gpu_shapes import random_model

    model = random_model(shape, place.torch, dtype, kept)[0].model
    kernels = TritonKernels(place.processors, CONTEXT, place.overlaps)
    told: list[str] = []
    with torch.inference_mode():
        for rows in (1, 2, 4) if place.torch.type == "cuda" else (1,):
            scene = Scene(model, rows, place.torch, dtype)
            expected = [scene.plain(kernels, tokens) for tokens in scene.tokens]
            for way in kernels.ways(model, rows):
                step = partial(scene.compute, way.kernels, way.forward)
                told.append(f"{rows} {way.name} {scene.worst(place.capture(step), expected, replays):.1e}")
    assert told, f"{shape} has one way only"
    return ", ".join(told)


class Scene:
    """Rows with contexts of their own, and two tokens each that come in turn."""

    def __init__(self, model: LanguageModel, rows: int, device: torch.device, dtype: torch.dtype) -> None:
        from engine.paged_cache import PagedCache

        size, each = 16, -(-CONTEXT // 16)
        self._model, self._rows = model, torch.arange(rows, device=device)
        cache = PagedCache(model.shapes, rows * each, size, dtype, device)
        for pool in cache.pools:
            pool.normal_(0, 0.5)
        self._pools = cache.layers
        self._tables = torch.arange(rows * each, dtype=torch.int32, device=device).view(rows, each)
        self._lengths = torch.full((rows,), CONTEXT, device=device)
        self._places = self._rows * each * size + CONTEXT - 1
        self.tokens = torch.randint(model.vocab, (2, rows), device=device)
        self._ids = self.tokens[0].clone()
        self._logits = torch.empty(rows, model.vocab, device=device)

    def compute(self, kernels: Kernels, forward: Callable[..., Tensor]) -> None:
        from engine.cuda.attention import DecodeAttention

        attention = DecodeAttention(kernels, self._pools, self._tables, self._lengths, self._places)
        self._logits.copy_(forward(self._ids, self._lengths - 1, attention))

    def plain(self, kernels: Kernels, tokens: Tensor) -> Tensor:
        self._ids.copy_(tokens)
        self.compute(kernels, partial(self._model.forward, chosen=self._rows))
        return self._logits.clone()

    def worst(self, replay: Callable[[], None], expected: list[Tensor], replays: int) -> float:
        """How far off it is at the most, by the logits' length. Each replay with the same tokens gives the same."""
        first: list[Tensor] = []
        for turn in range(2 * replays):
            self._ids.copy_(self.tokens[turn % 2])
            self._logits.fill_(float("nan"))
            replay()
            if turn < 2:
                first.append(self._logits.clone())
            assert torch.equal(self._logits, first[turn % 2]), f"replay {turn} differs from the first"
        lost = max(
            float((one - other).norm() / other.norm()) for one, other in zip(first, expected, strict=True)
        )
        dtype = self._pools[0].values.dtype
        assert lost <= LOST[dtype], f"{lost:.2e} off"
        return lost
