"""What stands between the products, each in one kernel: the residual sum with its norm, and gates."""

from __future__ import annotations

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.cuda.pieces import active

_MOST: Final = 16_384  # numbers of a row that one program holds
_GATED: Final = 1024


@triton.jit
def _norm(x, more, weight, out, eps, MORE: tl.constexpr, N: tl.constexpr, SIZE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * N
    n = tl.arange(0, SIZE)
    inside = n < N
    values = tl.load(x + row + n, mask=inside, other=0.0)
    if MORE:
        added = tl.load(more + row + n, mask=inside, other=0.0)
        values = (values.to(tl.float32) + added.to(tl.float32)).to(x.dtype.element_ty)
        tl.store(x + row + n, values, mask=inside)
    exact = values.to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(exact * exact, 0) / N + eps)
    normed = exact * scale * tl.load(weight + n, mask=inside, other=0.0)
    tl.store(out + row + n, normed.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _gate(both, out, size, GELU: tl.constexpr, SIZE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    inside = n < size
    gate = tl.load(both + 2 * row * size + n, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(both + 2 * row * size + size + n, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * size + n, (active(gate, GELU) * up).to(out.dtype.element_ty), mask=inside)


class TritonPointwise:
    """Implements `engine.norm.Pointwise`."""

    @staticmethod
    def norms(size: int, dtype: torch.dtype) -> bool:
        """Whether vectors of this size and type can be normed, or be a gate."""
        return size <= _MOST

    @staticmethod
    def norm(x: Tensor, more: Tensor | None, weight: Tensor, eps: float) -> Tensor:
        """x += more, then x normed. x, more: [T, N], contiguous; weight: float32 [N] -> [T, N]."""
        out = torch.empty_like(x)
        rows, size = x.shape
        padded = triton.next_power_of_2(size)
        _norm[(rows,)](
            x,
            x if more is None else more,
            weight,
            out,
            eps,
            MORE=more is not None,
            N=size,
            SIZE=padded,
            num_warps=8 if padded > 2048 else 4,
        )
        return out

    @staticmethod
    def gate(x: Tensor, gelu: bool) -> Tensor:
        """act(gate) * up. x: [T, 2 N], gate before up, contiguous -> [T, N]."""
        rows, size = x.shape[0], x.shape[1] // 2
        out = torch.empty(rows, size, dtype=x.dtype, device=x.device)
        _gate[(rows, triton.cdiv(size, _GATED))](x, out, size, GELU=gelu, SIZE=_GATED)
        return out
