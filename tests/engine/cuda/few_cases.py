"""Products of few rows against float64, over random shapes. Imports no test tool, as `kernel_cases`."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.cuda.codes import FP8, INT8, decode, encode
from engine.cuda.few import Cut, Few, InNorm, Matrix
from tests.engine.cuda.kernel_cases import close, poisoned

SIZES = (16, 129, 256, 520)


@dataclass(frozen=True, slots=True)
class Case:
    x: Tensor
    matrix: Matrix
    exact: Tensor  # float64 [N, K]
    norm: InNorm | None
    few: Few

    @property
    def normed(self) -> Tensor:
        """What is multiplied, in float64."""
        x = self.x.double()
        if self.norm is None:
            return x
        scale = (x.square().mean(-1, keepdim=True) + self.norm.eps).rsqrt()
        return x * scale * self.norm.weight.double()

    @property
    def product(self) -> Tensor:
        out = self.normed @ self.exact.T
        return out if self.matrix.bias is None else out + self.matrix.bias.double()


def random_few(seed: int, dtype: torch.dtype, device: str, rows: int, dependent: bool = False) -> Case:
    """No size need be a multiple of what a program computes, and the matrix has an even number of lines."""
    rng, source = random.Random(seed), torch.Generator().manual_seed(seed)
    inputs, outputs = rng.choice(SIZES), 2 * rng.choice((1, 9, 20))
    x = (torch.randn(rows, inputs, generator=source) * rng.choice((0.3, 4.0))).to(dtype).to(device)
    weight = (torch.randn(outputs, inputs, generator=source) * inputs**-0.5).to(dtype).to(device)
    kept = rng.choice((None, INT8, FP8))
    bias = torch.randn(outputs, generator=source).to(device) if rng.random() < 0.5 else None
    if kept is None:
        bias = None if bias is None else bias.to(dtype)
        matrix, exact = Matrix(weight, bias=bias), weight.double()
    else:
        codes = encode([weight], kept)
        matrix, exact = Matrix(codes.values, codes.scales, bias), decode(codes).double()
    norm = InNorm((1 + 0.3 * torch.randn(inputs, generator=source)).to(dtype).to(device), 1e-5)
    cut = Cut(rng.choice((4, 8, 16)), rng.choice((1, 2, 4, 8)), rng.choice((1, 3)))
    return Case(x, matrix, exact, norm if rng.random() < 0.6 else None, Few(cut, dependent))


def check_few(seed: int, dtype: torch.dtype, device: str, rows: int, dependent: bool = False) -> None:
    case = random_few(seed, dtype, device, rows, dependent)
    out_dtype = torch.float32 if seed % 3 == 0 else dtype
    with poisoned():
        out = case.few.product(case.x, case.matrix, out_dtype, case.norm)
    assert out.dtype == out_dtype
    close(out, case.product)


def check_few_gated(seed: int, dtype: torch.dtype, device: str, rows: int, dependent: bool = False) -> None:
    case = random_few(seed, dtype, device, rows, dependent)
    gelu = bool(seed % 2)
    with poisoned():
        out = case.few.gated(case.x, case.matrix, case.norm, gelu=gelu)
    gate, up = case.product.chunk(2, -1)
    active = functional.gelu(gate, approximate="tanh") if gelu else functional.silu(gate)
    close(out, active * up)


def check_few_added(seed: int, dtype: torch.dtype, device: str, rows: int, dependent: bool = False) -> None:
    """Rounded twice, as a product and then a sum would be."""
    case = random_few(seed, dtype, device, rows, dependent)
    source = torch.Generator().manual_seed(seed)
    onto = torch.randn(rows, len(case.exact), generator=source).to(dtype).to(device)
    before = onto.double()
    case.few.add(case.x, case.matrix, onto)
    plain = case.x.double() @ case.exact.T
    close(onto, before + (plain if case.matrix.bias is None else plain + case.matrix.bias.double()))
