"""One seam for every matrix product of the model: what the weights are packed as is decided here alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.dense import Dense, Filled
from engine.products import Packed, Products
from engine.quantized import GROUP, Blocks, quantizable, quantize


class Linear(Protocol):
    """`x @ weight.T + bias`; x: [T, in] -> [T, out]."""

    def __call__(self, x: Tensor) -> Tensor: ...


class PlainLinear:
    """torch's own product."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(x, self.weight, self.bias)


class PackedLinear:
    """oneDNN's product over weights reordered once.

    576 x 3,072, weights out of cache, 2 threads, microseconds at 1 / 8 rows: bfloat16 217 / 227 against 423 / 446
    of the plain product, float32 325 / 416 against 820 / 810.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return out


class BlocksLinear:
    """Our own product over weights in blocks, the inputs quantised to 8 bits by groups on the way."""

    def __init__(self, products: Products, blocks: Blocks, bias: Tensor | None, dtype: torch.dtype) -> None:
        """The outputs are in `dtype`."""
        self.products, self.packed, self._dtype = products, Packed(blocks, products.arena), dtype
        self.bias = None if bias is None else bias.float()

    @property
    def bits(self) -> int:
        return self.packed.bits

    @property
    def function(self) -> Any:
        """Of C."""
        return self.products.function

    @property
    def inputs(self) -> int:
        return self.packed.groups * GROUP

    def __call__(self, x: Tensor) -> Tensor:
        return self.products(x, self.packed, self.bias, self._dtype)


class DenseLinear:
    """Our own product over weights that are numbers.

    The default model's layers, one thread, milliseconds at 1 / 8 rows: bfloat16 7.6 / 9.1, oneDNN's 15.6 / 17.0;
    float32 15.6 / 21.1, oneDNN's 29.6 / 31.3.
    """

    def __init__(self, dense: Dense, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        """The outputs are in `dtype`."""
        self.packed, self.bits, self.function = (
            Filled(weight, dense.arena),
            8 * weight.itemsize,
            dense.function,
        )
        self.bias = None if bias is None else bias.float()
        self._dense, self._dtype = dense, dtype

    @property
    def inputs(self) -> int:
        return self.packed.inputs

    def __call__(self, x: Tensor) -> Tensor:
        return self._dense(x, self.packed, self.bias, self._dtype)


class Narrow(Protocol):
    """What keeps weights in 8 bits on a GPU."""

    def linear(self, matrices: Iterable[Tensor], bias: Tensor | None, dtype: torch.dtype) -> Linear:
        """The product with matrices one below the other, none of them kept; its outputs are in `dtype`."""
        ...

    def head(self, weight: Tensor) -> Linear:
        """The product that makes logits, in float32."""
        ...


class Linears:
    """The products of a model, each in the form chosen for its weights."""

    def __init__(
        self,
        weights: Checkpoint,
        products: Products | None = None,
        bits: int | None = None,
        narrow: Narrow | None = None,
        dense: Dense | None = None,
    ) -> None:
        """With `products`, matrices that the folder holds in blocks stay in them, and with `bits` all others are
        quantised to blocks of as many bits; those in no blocks are multiplied by `dense`. With `narrow` it makes all
        of them."""
        self._weights, self._products, self._bits, self._narrow = weights, products, bits, narrow
        self._dense = dense

    def begin(self, decoding: int) -> None:
        """Say what the next step is: so many replies and nothing else, or, with 0, prompts too."""
        if self._products is not None:
            self._products.decoding = decoding

    def of(self, names: list[str], bias: Tensor | None = None) -> Linear:
        """The product with the matrices of these names, one below the other. Raises ModelError."""
        weights = self._weights
        if self._narrow is not None:
            return self._narrow.linear((weights.take(name) for name in names), bias, weights.dtype)
        return self._linear(names, lambda: weights.joined(names), bias, self._bits, weights.dtype)

    def head(self, name: str, weight: Tensor) -> Linear:
        """The product that makes logits: by our own C in float32, and of 8 bits at least if they are not the folder's.

        `weight` is the matrix of that name, which may be the embedding's own memory.
        """
        if self._narrow is not None:
            return self._narrow.head(weight)
        return self._linear([name], lambda: weight, None, self._bits and 8, torch.float32)

    def _linear(
        self,
        names: list[str],
        read: Callable[[], Tensor],
        bias: Tensor | None,
        bits: int | None,
        dtype: torch.dtype,
    ) -> Linear:
        if self._products is None:
            return linear(read(), bias, dtype, self._dense)
        blocks = self._weights.blocks(names)
        if blocks is None or blocks.bits > (bits or blocks.bits):
            weight = read()
            if not bits or not quantizable(weight):
                return linear(weight, bias, dtype, self._dense)
            blocks = quantize(weight, bits)
        return BlocksLinear(self._products, blocks, bias, dtype)


def linear(
    weight: Tensor, bias: Tensor | None = None, dtype: torch.dtype | None = None, dense: Dense | None = None
) -> Linear:
    """The fastest product we know for these weights on their device. weight: [out, in], bias: [out].

    dtype: of what `dense` gives, the weights' if it is not said; torch gives the weights'.
    """
    if dense is not None and dense.multiplies(weight):
        return DenseLinear(dense, weight, bias, dtype or weight.dtype)
    return PackedLinear(weight, bias) if _packs(weight) else PlainLinear(weight, bias)


def _packs(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32
