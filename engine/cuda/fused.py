"""A decode step of few rows with nothing between its products: norms, gates and sums are done on the way."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.architecture import GELU
from engine.attending import Attending
from engine.cuda.few import Few, InNorm, Matrix
from engine.cuda.weights import CodesLinear
from engine.decoder import Decoder
from engine.linear import Linear, PlainLinear
from engine.norm import Norm


class FusedStep:
    """Implements `attention.Forward`, by seven launches a layer where attention is three."""

    def __init__(self, decoder: Decoder, few: Few) -> None:
        """The decoder is one that `fuses`."""
        self._decoder, self._few = decoder, few

    def __call__(self, tokens: Tensor, positions: Tensor, attention: Attending) -> Tensor:
        """tokens, positions: [B], one of each row -> float32 [B, V], the logits of all."""
        decoder, few = self._decoder, self._few
        shape = decoder.architecture
        gelu = shape.activation == GELU
        hidden, turns = decoder.embedded(tokens), decoder.turns(positions)
        for index, layer in enumerate(decoder.layers):
            qkv = few.product(hidden, _matrix(layer.qkv), hidden.dtype, _in(layer.attention_norm))
            mixed = attention.attend(
                index,
                qkv.view(-1, shape.heads + 2 * shape.kv_heads, shape.head_dim),
                shape.kv_heads,
                turns[layer.rope],
                shape.attention_scale,
                layer.window,
                norms=decoder.head_norms[index],
            )
            few.add(mixed.flatten(1), _matrix(layer.attention_out), onto=hidden)
            inner = few.gated(hidden, _matrix(layer.gate_up), _in(layer.mlp_norm), gelu=gelu)
            few.add(inner, _matrix(layer.down), onto=hidden)
        head = few.product(hidden, _matrix(decoder.head), torch.float32, _in(decoder.last_norm))
        return decoder.capped(head)


def fuses(decoder: Decoder) -> bool:
    """Whether what stands between its products can be done on the way."""
    products: list[Linear] = [decoder.head]
    norms = [decoder.last_norm]
    for layer in decoder.layers:
        products += [layer.qkv, layer.attention_out, layer.gate_up, layer.down]
        norms += [layer.attention_norm, layer.mlp_norm]
    return (
        not decoder.architecture.post_norms
        and all(isinstance(product, PlainLinear | CodesLinear) for product in products)
        and all(norm.weight.dtype == decoder.dtype for norm in norms)
    )


def _matrix(linear: Linear) -> Matrix:
    if isinstance(linear, CodesLinear):
        return Matrix(linear.codes.values, linear.codes.scales, linear.bias)
    assert isinstance(linear, PlainLinear)
    return Matrix(linear.weight, bias=linear.bias)


def _in(norm: Norm) -> InNorm:
    return InNorm(norm.weight, norm.eps)
