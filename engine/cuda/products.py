"""Products with weights in 8 bits: read once for a few rows, multiplied in tiles for more, or as fp8 by torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.cuda.codes import E4M3, LARGEST, SCALED_ROWS, Codes
from engine.cuda.few import MOST, Few, Matrix, cut_for
from engine.cuda.pieces import to_e4m3

_ALIGNED: Final = 16  # what torch's fp8 product wants sizes to be multiples of
_MOST_SPLITS: Final = 8
STEPS: Final = (1, 2, 4, 16, 32, 64, 128)
"""Numbers of rows that have a kernel of their own; a step takes that of the next larger one, or several of the last."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What one program computes: `rows` of the inputs with `lines` of the matrix, `depth` inputs at a time."""

    rows: int
    lines: int
    depth: int
    splits: int = 1  # parts of the inputs, each a program's
    warps: int = 4
    stages: int = 4


# Compiled once for all numbers of rows up to ROWS: a variant for a new one would hold up a running server.
@triton.jit(do_not_specialize=["rows"])
def _many(
    x,
    values,
    scales,
    bias,
    out,
    rows,
    outputs,
    INPUTS: tl.constexpr,
    ROWS: tl.constexpr,
    LINES: tl.constexpr,
    DEPTH: tl.constexpr,
    SPLITS: tl.constexpr,
    BIAS: tl.constexpr,
):
    # The matrix stands left, for its numbers can come from registers there, where they get their type.
    split = tl.program_id(2)
    m = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    n = tl.program_id(1) * LINES + tl.arange(0, LINES)
    k = tl.arange(0, DEPTH)
    line = values + n[:, None].to(tl.int64) * INPUTS
    row = x + m[None, :].to(tl.int64) * INPUTS
    there, used = (n < outputs)[:, None], (m < rows)[None, :]
    each = tl.cdiv(tl.cdiv(INPUTS, SPLITS), DEPTH) * DEPTH
    total = tl.zeros([LINES, ROWS], tl.float32)
    for start in range(split * each, tl.minimum(split * each + each, INPUTS), DEPTH):
        at = start + k
        if INPUTS % DEPTH == 0:
            weight = tl.load(line + at[None, :], mask=there, other=0.0)
            column = tl.load(row + at[:, None], mask=used, other=0.0)
        else:
            weight = tl.load(line + at[None, :], mask=there & (at < INPUTS)[None, :], other=0.0)
            column = tl.load(row + at[:, None], mask=used & (at < INPUTS)[:, None], other=0.0)
        total += tl.dot(weight.to(x.dtype.element_ty), column, input_precision="ieee")
    place = (split * rows + m[None, :]).to(tl.int64) * outputs + n[:, None]
    if SPLITS == 1:
        total = total * tl.load(scales + n, mask=n < outputs, other=0.0)[:, None]
        if BIAS:
            total += tl.load(bias + n, mask=n < outputs, other=0.0)[:, None]
    tl.store(out + place, total.to(out.dtype.element_ty), mask=there & used)


@triton.jit
def _join(
    parts, scales, bias, out, size, outputs, SPLITS: tl.constexpr, BIAS: tl.constexpr, SIZE: tl.constexpr
):
    at = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    inside = at < size
    total = tl.zeros([SIZE], tl.float32)
    for split in tl.static_range(SPLITS):
        total += tl.load(parts + split * size + at, mask=inside, other=0.0)
    total = total * tl.load(scales + at % outputs, mask=inside, other=0.0)
    if BIAS:
        total += tl.load(bias + at % outputs, mask=inside, other=0.0)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _squeeze(x, values, scales, most, INPUTS: tl.constexpr, SIZE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, SIZE)
    exact = tl.load(x + row * INPUTS + k, mask=k < INPUTS, other=0.0).to(tl.float32)
    scale = tl.max(tl.abs(exact), 0) / most
    codes = to_e4m3(exact / tl.where(scale == 0.0, 1.0, scale), values)
    tl.store(values + row * INPUTS + k, codes, mask=k < INPUTS)
    tl.store(scales + row, scale)


class TritonProducts:
    """Implements `weights.Products` on a GPU of so many processors."""

    def __init__(self, processors: int) -> None:
        self._processors = processors

    def __call__(self, x: Tensor, codes: Codes, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        """x: [T, K], contiguous; bias: float32 [N] -> [T, N] in `dtype`."""
        if len(x) >= SCALED_ROWS and dtype == torch.bfloat16 and is_scalable(codes):
            return scaled(x, codes, bias)
        if len(x) <= MOST:
            return Few(cut_for(len(x))).product(x, Matrix(codes.values, codes.scales, bias), dtype)
        shape = shape_for(len(x), len(codes.values), codes.values.shape[1], self._processors)
        return product(x, codes, bias, dtype, shape)

    def prepare(self, codes: Codes, bias: Tensor | None, inputs: torch.dtype, dtype: torch.dtype) -> None:
        """Compile all that steps of any size will need."""
        for rows in STEPS:
            x = torch.zeros(rows, codes.values.shape[1], dtype=inputs, device=codes.values.device)
            self(x, codes, bias, dtype)


def shape_for(rows: int, outputs: int, inputs: int, processors: int) -> Shape:
    """How the work is cut, so that a device of so many processors has enough of it at once."""
    step = next((step for step in STEPS if step >= max(rows, MOST + 1)), STEPS[-1])
    if step == STEPS[-1]:
        return Shape(step, 128, 64, warps=8, stages=3)
    depth = max(16, min(128, _padded(inputs)))
    programs = -(-outputs // 64) * -(-rows // step)
    splits = min(2 * processors // programs, inputs // (2 * depth), _MOST_SPLITS)
    return Shape(step, 64, depth, splits=max(1, splits))


def product(x: Tensor, codes: Codes, bias: Tensor | None, dtype: torch.dtype, shape: Shape) -> Tensor:
    """`x` with the weights as they are; what is summed up is float32."""
    (rows, inputs), outputs = x.shape, len(codes.values)
    out = torch.empty(rows, outputs, dtype=dtype, device=x.device)
    lines = triton.cdiv(outputs, shape.lines)
    weights = (codes.values, codes.scales, codes.scales if bias is None else bias)
    split = shape.splits > 1
    parts = out.new_empty(shape.splits, rows, outputs, dtype=torch.float32) if split else out
    _many[(triton.cdiv(rows, shape.rows), lines, shape.splits)](
        x,
        *weights,
        parts,
        rows,
        outputs,
        INPUTS=inputs,
        ROWS=shape.rows,
        LINES=shape.lines,
        DEPTH=shape.depth,
        SPLITS=shape.splits,
        BIAS=bias is not None,
        num_warps=shape.warps,
        num_stages=shape.stages,
    )
    if split:
        size = rows * outputs
        _join[(triton.cdiv(size, 1024),)](
            parts, *weights[1:], out, size, outputs, SPLITS=shape.splits, BIAS=bias is not None, SIZE=1024
        )
    return out


def is_scalable(codes: Codes) -> bool:
    """Whether torch's own fp8 product takes the matrix."""
    return codes.values.dtype == E4M3 and all(size % _ALIGNED == 0 for size in codes.values.shape)


def scaled(x: Tensor, codes: Codes, bias: Tensor | None) -> Tensor:
    """The product of fp8 with fp8: each row of x is quantised with a scale of its own. -> bfloat16."""
    return multiplied(*squeezed(x), codes, bias)


def multiplied(values: Tensor, scales: Tensor, codes: Codes, bias: Tensor | None) -> Tensor:
    """torch's own product, as it wants to be asked. values: E4M3 [T, K]; scales: float32 [T] -> bfloat16 [T, N]."""
    out: Tensor = torch._scaled_mm(
        values,
        codes.values.t(),
        scales[:, None],
        codes.scales[None],
        bias=None if bias is None else bias.to(torch.bfloat16),
        out_dtype=torch.bfloat16,
    )
    return out


def squeezed(x: Tensor) -> tuple[Tensor, Tensor]:
    """`codes.scaled_to` for fp8, in one kernel. x: [T, K], contiguous -> [T, K], float32 [T]."""
    rows, inputs = x.shape
    values = torch.empty(rows, inputs, dtype=E4M3, device=x.device)
    scales = torch.empty(rows, dtype=torch.float32, device=x.device)
    padded = _padded(inputs)
    _squeeze[(rows,)](
        x, values, scales, LARGEST[E4M3], INPUTS=inputs, SIZE=padded, num_warps=8 if padded > 2048 else 4
    )
    return values, scales


def _padded(size: int) -> int:
    return int(triton.next_power_of_2(size))
