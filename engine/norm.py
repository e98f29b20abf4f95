"""Root mean square norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import rms_norm


class Pointwise(Protocol):
    """Kernels of our own for what stands between the products."""

    def norms(self, size: int, dtype: torch.dtype) -> bool:
        """Whether vectors of this size and type can be normed, or be a gate."""
        ...

    def norm(self, x: Tensor, more: Tensor | None, weight: Tensor, eps: float) -> Tensor:
        """x += more, then x normed. x, more: [T, N], contiguous; weight: float32 [N] -> [T, N]."""
        ...

    def gate(self, x: Tensor, gelu: bool) -> Tensor:
        """act(gate) * up. x: [T, 2 N], gate before up, contiguous -> [T, N]."""
        ...


@dataclass(frozen=True, slots=True)
class HeadNorms:
    """Norms of queries and keys, before they are turned to their positions."""

    weight: Tensor  # float32 [H + Hkv, D]: a row a head
    eps: float

    def apply(self, qkv: Tensor) -> None:
        """In place. qkv: [T, H + 2 Hkv, D]."""
        heads, size = self.weight.shape
        qkv[:, :heads] = rms_norm(qkv[:, :heads].float(), (size,), eps=self.eps) * self.weight


class Norm:
    """`x / sqrt(mean(x²) + eps) * weight` over the last dimension, computed in float32 and rounded once.

    torch has no kernel for it on a processor: `rms_norm` is nine operations there, `layer_norm` one. The mean of x and
    -x side by side is 0 and their variance the mean square of x, so the one serves for the other: 10 µs a row of 576
    in bfloat16 against 41. Our own kernel takes 6.
    """

    def __init__(self, weight: Tensor, eps: float, kernels: Pointwise | None = None) -> None:
        """weight: [N]; in float32 it is multiplied before the result is rounded to x's type."""
        self.weight, self.eps = weight, eps
        self._size = weight.shape[0]
        self._doubled = torch.cat((weight, weight)) if weight.device.type == "cpu" else None
        self._kernels, self.exact = kernels, weight.float()

    def __call__(self, x: Tensor, more: Tensor | None = None) -> Tensor:
        """Add `more` to x in place, then norm that. x, more: [T, N], contiguous -> [T, N], contiguous."""
        if self._kernels is not None and self._kernels.norms(self._size, x.dtype):
            return self._kernels.norm(x, more, self.exact, self.eps)
        return self._normed(x if more is None else x.add_(more))

    def _normed(self, x: Tensor) -> Tensor:
        if x.dtype != self.weight.dtype:
            return self._normed(x.float()).to(x.dtype)
        if self._doubled is None:
            return rms_norm(x, self.weight.shape, self.weight, self.eps)
        beside = torch.cat((x, -x), -1)
        both = torch.layer_norm(beside, (2 * self._size,), self._doubled, None, self.eps)
        return both.narrow(1, 0, self._size).contiguous()
