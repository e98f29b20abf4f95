"""What is captured takes nothing from the processor's memory, and asks for no tensor's content."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig

from engine.architecture import architecture_of
from engine.checkpoint import Checkpoint
from engine.cuda.attention import Kernels, Way
from engine.cuda.choice import Kind
from engine.cuda.codes import E4M3, Codes
from engine.cuda.few import InNorm, Matrix
from engine.cuda.fused import FusedStep, fuses
from engine.cuda.products import multiplied
from engine.cuda.replays import Replays
from engine.cuda.state import BatchState
from engine.decoder import Decoder
from engine.linear import Linears
from engine.models import LanguageModel
from engine.norm import HeadNorms
from engine.paged_cache import LayerShape, Pool
from scripts.gpu_shapes import RandomWeights
from tests.engine.cuda.elsewhere import ELSEWHERE, ElsewhereDevice, captured
from tests.engine.tiny_models import LEAN

BUCKETS = [1, 2, 8]


class Launches:
    """What Triton's kernels take and give; `attention.Kernels` and `norm.Pointwise`."""

    def store(
        self, qkv: Tensor, norms: HeadNorms | None, turns: Tensor | None, slots: Tensor, pool: Pool
    ) -> Tensor:
        return qkv.new_empty(len(qkv), qkv.shape[1] - len(pool.values), qkv.shape[2])

    def decoding(self, query: Tensor, *others: object) -> Tensor:
        return torch.empty_like(query)

    def norms(self, size: int, dtype: torch.dtype) -> bool:
        return True

    def norm(self, x: Tensor, more: Tensor | None, weight: Tensor, eps: float) -> Tensor:
        return torch.empty_like(x)

    def gate(self, x: Tensor, gelu: bool) -> Tensor:
        return x.new_empty(len(x), x.shape[1] // 2)

    def ways(self, model: LanguageModel, rows: int) -> list[Way]:
        assert isinstance(model, Decoder)
        few: Any = FewLaunches()
        return [Way("fused", FusedStep(model, few), cast(Kernels, self))] if fuses(model) else []


class FewLaunches:
    """`few.Few` likewise."""

    def product(self, x: Tensor, matrix: Matrix, dtype: torch.dtype, norm: InNorm | None = None) -> Tensor:
        return x.new_empty(len(x), len(matrix.values), dtype=dtype)

    def gated(self, x: Tensor, matrix: Matrix, norm: InNorm, *, gelu: bool) -> Tensor:
        return x.new_empty(len(x), len(matrix.values) // 2)

    def add(self, x: Tensor, matrix: Matrix, onto: Tensor) -> None:
        onto += x.new_empty(len(x), len(matrix.values))


def model_elsewhere(family: str) -> Decoder:
    options = dict(LEAN[family])
    config = AutoConfig.for_model(options.pop("model_type", family), **options)
    architecture = architecture_of(config)
    assert architecture is not None
    weights = cast(Checkpoint, RandomWeights(config, ELSEWHERE, torch.bfloat16))
    return Decoder(architecture, config, weights, Linears(weights), Launches())


def pool_of(shape: LayerShape) -> Pool:
    return Pool(
        torch.empty(2 * shape.kv_heads, 9, 16, shape.head_dim, dtype=torch.bfloat16, device=ELSEWHERE)
    )


@pytest.mark.parametrize("family", LEAN)
def test_every_graph_of_a_decode_step(family: str) -> None:
    device: Any = ElsewhereDevice()
    with torch.no_grad():
        model = model_elsewhere(family)
        state = BatchState(device, BUCKETS[-1], 8, 16, model.vocab)
        kernels: Any = Launches()
        Replays(model, [pool_of(shape) for shape in model.shapes], state, device, kernels, BUCKETS)
    ways = 1 if model.architecture.post_norms else 2
    assert device.captured == len(BUCKETS) * (ways + len(Kind))


@pytest.mark.parametrize(
    "work",
    [
        lambda there: there + torch.ones(3),
        lambda there: there * torch.tensor(2.0),
        lambda there: torch.tensor([1.0, 2.0, 3.0], device=ELSEWHERE),
        lambda there: there.cpu(),
        lambda there: there[[0, 2]],
        lambda there: there[..., [0, 2]],
        lambda there: there[there > 0],
        lambda there: there.nonzero(),
        lambda there: float(there[0]),
        lambda there: bool((there > 0).any()),
    ],
)
def test_what_a_capture_forbids_is_seen(work: Callable[[Tensor], object]) -> None:
    with torch.no_grad():
        there = torch.empty(3, device=ELSEWHERE)
        captured(lambda: there + 1)
        with pytest.raises((AssertionError, RuntimeError)):
            captured(lambda: work(there))


@pytest.mark.parametrize("rows", [1, 17])
def test_torchs_product_of_fp8_takes_what_it_is_given_on_a_gpu(rows: int) -> None:
    """Its demands of types, sizes, strides and scales are those that the device's own product has."""
    with torch.no_grad():
        x, scales = torch.empty(rows, 64, dtype=E4M3, device=ELSEWHERE), torch.empty(rows, device=ELSEWHERE)
        matrix = torch.empty(48, 64, dtype=E4M3, device=ELSEWHERE)
        codes, bias = Codes(matrix, torch.empty(48, device=ELSEWHERE)), torch.empty(48, device=ELSEWHERE)
        captured(lambda: multiplied(x, scales, codes, None))
        captured(lambda: multiplied(x, scales, codes, bias))
        assert multiplied(x, scales, codes, bias).shape == (rows, 48)
        with pytest.raises(RuntimeError):
            multiplied(x, scales, Codes(matrix[:47], codes.scales[:47]), None)
