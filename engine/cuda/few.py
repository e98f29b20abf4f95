"""Products of few rows: the matrix streams by once, and what stands before and behind it is done on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.cuda.dependent import await_earlier, launched_early
from engine.cuda.pieces import active

MOST: Final = 4
"""Rows; for more, multiplying outside of the matrix units would take longer than reading."""
_VECTOR: Final = 16  # bytes of inputs that a thread loads at once
_WARP: Final = 32


@dataclass(frozen=True, slots=True)
class Matrix:
    """What rows are multiplied with: `values`, times `scales[:, None]` where there are any."""

    values: Tensor  # [N, K], contiguous
    scales: Tensor | None = None  # float32 [N]
    bias: Tensor | None = None  # [N]


@dataclass(frozen=True, slots=True)
class InNorm:
    """The root mean square norm that inputs pass first."""

    weight: Tensor  # [K], in the inputs' type
    eps: float


@dataclass(frozen=True, slots=True)
class Cut:
    """What one program computes: so many lines of the matrix, twice as many of one in 8 bits, by so many warps.

    With more `stages` than one, loads are so many turns ahead by way of shared memory; else other programs' warps fill
    the time.
    """

    lines: int
    warps: int = 4
    stages: int = 1


@triton.jit
def _ended(sums, line, there, scales, bias, SCALED: tl.constexpr, BIAS: tl.constexpr):
    """sums: [ROWS, LINES]; line: [1, LINES], which lines they are of."""
    if SCALED:
        sums *= tl.load(scales + line, mask=there, other=0.0)
    if BIAS:
        sums += tl.load(bias + line, mask=there, other=0.0).to(tl.float32)
    return sums


@triton.jit
def _fetch(values, n, outputs, inputs, DEPTH: tl.constexpr):
    """Have the device's cache hold what the lines n begin with, some time. n: [LINES]."""
    EACH: tl.constexpr = 1024 // values.dtype.element_ty.primitive_bitwidth  # that lie side by side there
    at = tl.minimum(tl.arange(0, DEPTH // EACH) * EACH, inputs - 1)
    line = values + tl.minimum(n, outputs - 1).to(tl.int64) * inputs
    tl.inline_asm_elementwise(
        "prefetch.global.L2 [$1]; mov.u32 $0, 0;",
        "=r,l",
        [line[:, None] + at[None, :]],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )


# Compiled once, whatever the sizes are: only whether they are multiples of 16, and of what is read at once, counts.
@triton.jit(do_not_specialize=["rows"])
def _few(
    x,
    norm,
    values,
    scales,
    bias,
    out,
    rows,
    outputs,
    inputs,
    eps,
    ROWS: tl.constexpr,
    LINES: tl.constexpr,
    CHUNKS: tl.constexpr,
    EACH: tl.constexpr,
    STAGES: tl.constexpr,
    EVEN: tl.constexpr,
    SCALED: tl.constexpr,
    BIAS: tl.constexpr,
    NORMED: tl.constexpr,
    GATED: tl.constexpr,
    GELU: tl.constexpr,
    ADDED: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    # Inputs are [CHUNKS, EACH]: what a thread loads at once it sums up before it keeps anything.
    m = tl.arange(0, ROWS)[:, None, None, None]
    n = (tl.program_id(0) * LINES + tl.arange(0, LINES))[None, :, None, None]
    k = tl.arange(0, CHUNKS)[None, None, :, None] * EACH + tl.arange(0, EACH)[None, None, None, :]
    line = values + n.to(tl.int64) * inputs
    total = tl.zeros([ROWS, LINES, CHUNKS], tl.float32)
    squares = tl.zeros([ROWS, 1, CHUNKS], tl.float32)
    if GATED:
        upper_line = values + (outputs + n).to(tl.int64) * inputs
        upper = tl.zeros([ROWS, LINES, CHUNKS], tl.float32)
    if DEPENDENT:  # nobody writes weights, so that they need no waiting
        first = tl.program_id(0) * LINES + tl.arange(0, LINES)
        _fetch(values, first, outputs, inputs, CHUNKS * EACH)
        if GATED:
            _fetch(values, outputs + first, 2 * outputs, inputs, CHUNKS * EACH)
    await_earlier(DEPENDENT)
    for start in tl.range(0, inputs, CHUNKS * EACH, num_stages=STAGES):
        at = start + k
        there, used = (n < outputs) & (EVEN | (at < inputs)), (m < rows) & (EVEN | (at < inputs))
        weight = tl.load(line + at, mask=there, other=0.0, eviction_policy="evict_first")
        if GATED:
            upper_weight = tl.load(upper_line + at, mask=there, other=0.0, eviction_policy="evict_first")
        column = tl.load(x + m * inputs + at, mask=used, other=0.0).to(tl.float32)
        if NORMED:
            squares += tl.sum(column * column, 3)
            column *= tl.load(norm + at, mask=EVEN | (at < inputs), other=0.0)
        total += tl.sum(weight.to(tl.float32) * column, 3)
        if GATED:
            upper += tl.sum(upper_weight.to(tl.float32) * column, 3)
    m, n = tl.arange(0, ROWS)[:, None], (tl.program_id(0) * LINES + tl.arange(0, LINES))[None, :]
    factor = 1.0
    if NORMED:
        factor = 1.0 / tl.sqrt(tl.sum(squares, 2) / inputs + eps)
    result = _ended(tl.sum(total, 2) * factor, n, n < outputs, scales, bias, SCALED, BIAS)
    if GATED:
        up = _ended(tl.sum(upper, 2) * factor, outputs + n, n < outputs, scales, bias, SCALED, BIAS)
        result = active(result, GELU) * up
    place, inside = out + m * outputs + n, (m < rows) & (n < outputs)
    if ADDED:
        result = result.to(out.dtype.element_ty).to(tl.float32)
        result += tl.load(place, mask=inside, other=0.0).to(tl.float32)
    tl.store(place, result.to(out.dtype.element_ty), mask=inside)


STAGED: Final = Cut(8, stages=3)
"""For one row, where it is not the other way that keeps more memory busy: only a device can tell."""


def cut_for(rows: int) -> Cut:
    """So that a thread's sums, and the weights that it waits for, fit into its registers."""
    return Cut(8 if rows <= 2 else 4)


@dataclass(frozen=True, slots=True)
class Few:
    """The products, by programs of this cut. `dependent`: they begin while what was launched before them runs."""

    cut: Cut
    dependent: bool = False

    def product(self, x: Tensor, matrix: Matrix, dtype: torch.dtype, norm: InNorm | None = None) -> Tensor:
        """x: [T, K], contiguous -> [T, N] in `dtype`."""
        out = torch.empty(len(x), len(matrix.values), dtype=dtype, device=x.device)
        self._launch(x, matrix, out, norm)
        return out

    def gated(self, x: Tensor, matrix: Matrix, norm: InNorm | None, *, gelu: bool) -> Tensor:
        """act(gate) * up, in x's type. matrix: gate's lines before up's. x: [T, K], contiguous -> [T, N / 2]."""
        out = torch.empty(len(x), len(matrix.values) // 2, dtype=x.dtype, device=x.device)
        self._launch(x, matrix, out, norm, gated=True, gelu=gelu)
        return out

    def add(self, x: Tensor, matrix: Matrix, onto: Tensor) -> None:
        """Rounded to the type of `onto`, then added to it. x: [T, K], onto: [T, N], both contiguous."""
        self._launch(x, matrix, onto, None, added=True)

    def _launch(
        self,
        x: Tensor,
        matrix: Matrix,
        out: Tensor,
        norm: InNorm | None,
        *,
        gated: bool = False,
        gelu: bool = False,
        added: bool = False,
    ) -> None:
        (rows, inputs), outputs, values = x.shape, out.shape[1], matrix.values
        each = _VECTOR // x.itemsize
        warps = max(1, min(self.cut.warps, triton.next_power_of_2(inputs) // (_WARP * each)))
        lines = self.cut.lines * max(1, 2 // values.itemsize) // (2 if gated else 1)
        _few[(triton.cdiv(outputs, lines),)](
            x,
            x if norm is None else norm.weight,
            values,
            x if matrix.scales is None else matrix.scales,
            x if matrix.bias is None else matrix.bias,
            out,
            rows,
            outputs,
            inputs,
            0.0 if norm is None else norm.eps,
            ROWS=triton.next_power_of_2(rows),
            LINES=lines,
            CHUNKS=warps * _WARP,
            EACH=each,
            STAGES=self.cut.stages,
            EVEN=inputs % (warps * _WARP * each) == 0,
            SCALED=matrix.scales is not None,
            BIAS=matrix.bias is not None,
            NORMED=norm is not None,
            GATED=gated,
            GELU=gelu,
            ADDED=added,
            DEPENDENT=self.dependent,
            num_warps=warps,
            num_stages=self.cut.stages,
            **launched_early(self.dependent),
        )
