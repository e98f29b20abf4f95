"""The model's products on a GPU with weights in 8 bits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from engine.cuda.codes import INT8, Codes, encode


class Products(Protocol):
    """What computes them."""

    def __call__(self, x: Tensor, codes: Codes, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        """x: [T, K], contiguous; bias: float32 [N] -> [T, N] in `dtype`."""
        ...

    def prepare(self, codes: Codes, bias: Tensor | None, inputs: torch.dtype, dtype: torch.dtype) -> None:
        """See that steps of any size find what they need; their inputs will be of the type `inputs`."""
        ...


class CodesLinear:
    """Implements `engine.linear.Linear`."""

    def __init__(self, products: Products, codes: Codes, bias: Tensor | None, dtype: torch.dtype) -> None:
        """bias: float32 [N]; the outputs are in `dtype`."""
        self.codes, self.bias, self._products, self._dtype = codes, bias, products, dtype

    def __call__(self, x: Tensor) -> Tensor:
        return self._products(x.contiguous(), self.codes, self.bias, self._dtype)


class NarrowWeights:
    """Implements `engine.linear.Narrow`."""

    def __init__(self, products: Products, name: str) -> None:
        """`name`: INT8 or FP8."""
        self._products, self._name = products, name

    def linear(self, matrices: Iterable[Tensor], bias: Tensor | None, dtype: torch.dtype) -> CodesLinear:
        return self._made(encode(matrices, self._name), bias, dtype, dtype)

    def head(self, weight: Tensor) -> CodesLinear:
        """In int8 always: the default model's likeliest tokens show what logits of fp8 lose (docs/benchmarks.md)."""
        return self._made(encode([weight], INT8), None, weight.dtype, torch.float32)

    def _made(
        self, codes: Codes, bias: Tensor | None, inputs: torch.dtype, dtype: torch.dtype
    ) -> CodesLinear:
        exact = None if bias is None else bias.float()
        self._products.prepare(codes, exact, inputs, dtype)
        return CodesLinear(self._products, codes, exact, dtype)
