"""Products with weights in 8 bits against float64, over random shapes. Imports no test tool, as `kernel_cases`."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.cuda.codes import E4M3, FP8, INT8, Codes, decode, encode, scaled_to
from engine.cuda.products import Shape, TritonProducts, product, shape_for, squeezed
from tests.engine.cuda.kernel_cases import close, poisoned


def random_product(
    seed: int, dtype: torch.dtype, device: str, rows: int
) -> tuple[Tensor, Codes, Tensor | None]:
    """Inputs, a matrix in 8 bits, a bias; no size is a round number."""
    rng, source = random.Random(seed), torch.Generator().manual_seed(seed)
    inputs, outputs = rng.choice((16, 48, 129, 640)), rng.choice((1, 17, 96, 200))
    x = torch.randn(rows, inputs, generator=source).to(dtype).to(device)
    weight = torch.randn(outputs, inputs, generator=source) * inputs**-0.5
    bias = torch.randn(outputs, generator=source).to(device) if rng.random() < 0.5 else None
    cut = rng.randint(0, outputs - 1)
    parts = [weight[:cut], weight[cut:]] if cut else [weight]
    return x, encode((part.to(device) for part in parts), rng.choice((INT8, FP8))), bias


def check_product(seed: int, dtype: torch.dtype, device: str, rows: int, splits: int = 1) -> None:
    x, codes, bias = random_product(seed, dtype, device, rows)
    fitting = shape_for(rows, len(codes.values), x.shape[1], 4)
    shape = Shape(fitting.rows, fitting.lines, fitting.depth, splits, fitting.warps, fitting.stages)
    out_dtype = torch.float32 if seed % 3 == 0 else dtype
    with poisoned():
        out = product(x, codes, bias, out_dtype, shape)
    assert out.dtype == out_dtype
    close(out, exact(x.double(), codes, bias))


def check_squeezed(seed: int, dtype: torch.dtype, device: str) -> None:
    """In one kernel the same as in torch."""
    rng, source = random.Random(seed), torch.Generator().manual_seed(seed)
    x = torch.randn(3, rng.choice((1, 64, 3000)), generator=source) ** 5
    x[1] = 0
    x = x.to(dtype).to(device)
    with poisoned():
        values, scales = squeezed(x)
    expected, exact_scales = scaled_to(x, E4M3)
    torch.testing.assert_close(scales, exact_scales, rtol=1e-6, atol=0)
    # A quotient that lies between two numbers may be rounded either way.
    step = (values.double() - expected.double()).abs() / expected.double().abs().clamp(min=2**-6)
    assert float(step.max()) <= 0.126
    assert float((step > 0).double().mean()) <= 0.01


def check_scaled(seed: int, device: str, rows: int) -> None:
    """torch's fp8 product of inputs that are quantised too."""
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 128, generator=source).bfloat16().to(device)
    codes = encode([torch.randn(96, 128, generator=source).to(device)], FP8)
    bias = torch.randn(96, generator=source).to(device) if seed % 2 else None
    with poisoned():
        out = TritonProducts(4)(x, codes, bias, torch.bfloat16)
    values, scales = squeezed(x)
    close(out, exact(values.double() * scales.double()[:, None], codes, bias))


def check_any_rows(seed: int, dtype: torch.dtype, device: str, rows: int) -> None:
    """As a model's products choose by themselves."""
    x, codes, bias = random_product(seed, dtype, device, rows)
    with poisoned():
        out = TritonProducts(4)(x, codes, bias, dtype)
    close(out, exact(x.double(), codes, bias))


def exact(x: Tensor, codes: Codes, bias: Tensor | None) -> Tensor:
    out = x @ (codes.values.double() * codes.scales.double()[:, None]).T
    return out if bias is None else out + bias.double()


def rounded(folder: Path, name: str) -> Path:
    """The same model with matrices that `name` holds exactly: its logits' matrix is to be in int8."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for tensor, weight in tensors.items():
        if weight.ndim > 1 and "embed_tokens" not in tensor:
            kind = INT8 if "lm_head" in tensor else name
            tensors[tensor] = decode(encode([weight], kind))
    save_file(tensors, path, {"format": "pt"})
    return folder
