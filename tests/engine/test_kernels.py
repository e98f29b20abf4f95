"""The kernels against torch's operations, value for value."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import gelu, rms_norm, silu

from engine.kernels import Kernels
from engine.span import Span, tables_of

pytestmark = pytest.mark.native

DTYPES = (torch.float32, torch.bfloat16)
PAGE = 16


@pytest.fixture(scope="module")
def kernels(native_dir: Path) -> Kernels:
    return Kernels.load(native_dir, 1)


def near(found: torch.Tensor, exact: torch.Tensor) -> None:
    tolerance = 2e-6 if found.dtype == torch.float32 else 2**-8
    torch.testing.assert_close(found.double(), exact.double(), rtol=tolerance, atol=tolerance)


def values(*shape: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 40])
def test_norms(kernels: Kernels, rows: int, dtype: torch.dtype) -> None:
    x, more = values(rows, 48, dtype=dtype), values(rows, 48, dtype=dtype, seed=1)
    weight = values(48, dtype=torch.float32)
    summed = x + more
    near(kernels.norm(x.clone(), None, weight, 1e-5), rms_norm(x.double(), (48,), weight.double(), 1e-5))
    near(kernels.norm(x, more, weight, 1e-5), rms_norm(summed.double(), (48,), weight.double(), 1e-5))
    assert torch.equal(x, summed)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gates(kernels: Kernels, dtype: torch.dtype) -> None:
    x = values(9, 64, dtype=dtype) * 4
    x[0, :8] = torch.tensor([1e4, -1e4, 90, -90, 200, -200, 0, -0.0]).to(dtype)
    gate, up = x.double().chunk(2, -1)
    near(kernels.gate(x, False), silu(gate) * up)
    near(kernels.gate(x, True), gelu(gate, approximate="tanh") * up)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(9, 3, 64), (8, 1, 96), (4, 4, 32), (6, 2, 256)])
def test_attention_in_place_on_scattered_pages(
    kernels: Kernels, heads: int, kv_heads: int, dim: int, window: int | None, dtype: torch.dtype
) -> None:
    pool = values(2 * kv_heads, 41, PAGE, dim, dtype=dtype)
    scattered = iter(torch.randperm(41, generator=torch.Generator().manual_seed(1)).tolist())
    positions = [0, 15, 16, 50, 200]
    spans = [
        Span(row, 1, position, [next(scattered) for _ in range(position // PAGE + 1)])
        for row, position in enumerate(positions)
    ]
    qkv = values(len(spans), heads + 2 * kv_heads, dim, dtype=dtype, seed=2)
    angles = values(len(spans), dim // 2, dtype=torch.float32)
    cos, sin = angles.cos(), angles.sin()
    turns = torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)), 1)
    untouched = pool.clone()
    out = kernels.attend(qkv, turns, pool, tables_of(spans), 0.2, window)
    for span in spans:
        turned = qkv[span.first, : heads + kv_heads].double()
        cos, sin = turns[span.first].double()
        turned = turned * cos + turned.roll(dim // 2, -1) * sin
        page, offset = span.pages[-1], span.start % PAGE
        near(pool[:kv_heads, page, offset], turned[heads:])
        assert torch.equal(pool[kv_heads:, page, offset], qkv[span.first, heads + kv_heads :])
        untouched[:, page, offset] = pool[:, page, offset]
        low = 0 if window is None else max(0, span.start + 1 - window)
        context = pool[:, span.pages].flatten(1, 2)[:, low : span.start + 1].double()
        grouped = turned[:heads].view(kv_heads, -1, dim)
        shares = (torch.einsum("hgd,htd->hgt", grouped, context[:kv_heads]) * 0.2).softmax(-1)
        near(out[span.first], torch.einsum("hgt,htd->hgd", shares, context[kv_heads:]).flatten(0, 1))
    assert torch.equal(pool, untouched)


def test_sizes_that_no_register_holds_are_left_to_torch() -> None:
    assert Kernels.norms(576, torch.bfloat16)
    assert not Kernels.norms(40, torch.bfloat16)
    assert not Kernels.norms(48, torch.float16)
    assert Kernels.attends(9, 3, 64, torch.bfloat16)
    for heads, kv_heads, dim, dtype in (
        (9, 1, 64, torch.float32),
        (2, 2, 80, torch.float32),
        (2, 2, 288, torch.float32),
        (2, 2, 64, torch.float16),
    ):
        assert not Kernels.attends(heads, kv_heads, dim, dtype)
