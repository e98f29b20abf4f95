"""What the plan leaves for a runner's own tensors, against those that it makes on the stand-in."""

from __future__ import annotations

import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from engine.batch import Row
from engine.config import EngineSettings
from engine.cuda.processor import ProcessorDevice
from engine.cuda.room import Sizes, rooms
from engine.cuda.runner import GraphRunner
from engine.models import load_model
from engine.request import Sampling
from engine.shaping import shaping_of
from tests.engine.cuda.torch_kernels import TorchKernels
from tests.engine.tiny_models import PAGE, save_tiny

VOCAB, ROWS, CHUNK = 20_000, 24, 300


class Watching(TorchDispatchMode):
    """Adds up the memory of all tensors that were made since and still live."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.bytes = 0
        self._living: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(one, torch.Tensor) and one.layout is torch.strided:
                self._see(one)
        return result

    def _see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        if not self._living[place]:
            self.bytes += size
            self.peak = max(self.peak, self.bytes)
        self._living[place] += 1
        weakref.finalize(tensor, self._lose, place, size)

    def _lose(self, place: int, size: int) -> None:
        self._living[place] -= 1
        if not self._living[place]:
            self.bytes -= size


SAMPLINGS = [
    Sampling(temperature=0),
    Sampling(temperature=0.9, min_p=0.1),
    Sampling(temperature=0.9, top_p=0.9, top_k=40),
    Sampling(temperature=0.9, top_p=0.9, repetition_penalty=1.2, min_tokens=3),
]


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_a_runner_takes_no_more_than_was_planned(kind: str, tmp_path: Path) -> None:
    folder = save_tiny(kind, tmp_path, vocab_size=VOCAB, max_position_embeddings=512)
    settings = EngineSettings(
        dtype="float32", page_tokens=PAGE, kv_bytes=8 << 20, max_running=ROWS, host_kv_bytes=1 << 20
    )
    loaded = load_model(folder, settings)
    with Watching() as watching:
        runner = GraphRunner(loaded, settings, ProcessorDevice(), TorchKernels(), 1)
        assert runner.mover is not None
        kept = sum(tensor.nbytes for tensor in runner._cache.tensors)  # what has its own place in the plan
        kept += sum(slab.nbytes for slab in runner.mover._slabs)
        most = CHUNK // PAGE + 1
        runner.step([Row([7] * CHUNK, 0, range(most), SAMPLINGS[0], 0, True)])
        tables = [[most + row] for row in range(ROWS)]
        for sampling in SAMPLINGS:
            shaping = shaping_of(sampling, [1, 2], {3})
            runner.step([Row([5], 0, table, sampling, 1, True, shaping) for table in tables])
    shape = runner._cache.pools[0].shape
    sizes = Sizes(VOCAB, 48, 80, 6, shape[0] // 2, shape[3], 4)
    planned = rooms(sizes, ROWS, CHUNK, runner._state.tables.shape[1], moves=True)
    taken = watching.peak - kept
    counted = sum(planned[name] for name in ("logits", "batch", "attention", "layers"))
    assert counted / 2 < taken < counted
