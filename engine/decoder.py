"""One decoder for the families of `architecture`: fused weights, a flat batch of tokens, paged attention."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu, silu

from engine.adapters.mixer import AdaptedLinear, Mixer
from engine.adapters.targets import PRODUCTS, Targets, decoder_targets
from engine.architecture import GELU, Architecture
from engine.attending import Attending
from engine.attention import StepAttention
from engine.checkpoint import Checkpoint
from engine.kernels import Kernels
from engine.layer import Layer, layer_of, norm_of
from engine.linear import Linears
from engine.norm import HeadNorms, Pointwise
from engine.paged_cache import LayerShape
from engine.rope import Rope, Turns, rope_for
from engine.whole import WholeStep


class Decoder:
    """A language model of our own; `forward` is one step for any mix of rows."""

    def __init__(
        self,
        architecture: Architecture,
        config: Any,
        weights: Checkpoint,
        linears: Linears,
        kernels: Pointwise | None = None,
    ) -> None:
        """Raises ModelError if the checkpoint does not fit. Without `kernels` torch computes everything."""
        self.architecture, self._kernels, self._linears = architecture, kernels, linears
        self._embedding = weights.take("embed_tokens.weight")
        scale = architecture.embedding_scale
        # As the embedding's type has it, but no tensor: a graph takes nothing from the processor.
        self._embedding_scale = (
            None if scale is None else float(torch.tensor(scale, dtype=self._embedding.dtype))
        )
        self._ropes: dict[str | None, Rope] = {
            kind: rope_for(config, kind, self._embedding.device) for kind in set(architecture.rope_kinds)
        }
        self.layers = [
            layer_of(architecture, weights, linears, kernels, index) for index in range(architecture.layers)
        ]
        self.head_norms = [
            None if layer.head_norms is None else HeadNorms(layer.head_norms, architecture.norm_eps)
            for layer in self.layers
        ]
        # A second set, so that a step without adapters asks for none at any product.
        self._mixer = Mixer(self._embedding.device)
        self._adapted = [_adapted(layer, index, self._mixer) for index, layer in enumerate(self.layers)]
        self._intermediate = int(config.intermediate_size)
        self.last_norm = norm_of(architecture, weights, kernels, "norm")
        if architecture.tied:
            self.head = linears.head("embed_tokens.weight", self._embedding)
        else:
            self.head = linears.head("lm_head.weight", weights.take("lm_head.weight"))
        self._whole = WholeStep.of(
            architecture,
            self.layers,
            self._ropes,
            self.last_norm,
            self.head,
            kernels if isinstance(kernels, Kernels) else None,
            self._embedding.dtype,
        )

    @property
    def is_in_c(self) -> bool:
        """Whether a step of replies is one call of C."""
        return self._whole is not None

    @property
    def shapes(self) -> list[LayerShape]:
        shape = LayerShape(self.architecture.kv_heads, self.architecture.head_dim)
        return [shape] * self.architecture.layers

    @property
    def vocab(self) -> int:
        return self._embedding.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """Of what goes from layer to layer."""
        return self._embedding.dtype

    @property
    def targets(self) -> Targets:
        shape = self.architecture
        hidden = self._embedding.shape[1]
        return decoder_targets(
            shape.layers, hidden, self._intermediate, shape.heads, shape.kv_heads, shape.head_dim
        )

    @property
    def mixer(self) -> Mixer:
        return self._mixer

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        attention: Attending,
        chosen: Tensor,
        adapted: bool = False,
    ) -> Tensor:
        """Logits in float32 of the tokens at `chosen`. tokens, positions: [T], chosen: [R] -> [R, V].

        `adapted`: what the mixer has is added.
        """
        self._linears.begin(attention.decoding)
        hidden = self.embedded(tokens)
        whole = self._whole if len(chosen) and not adapted else None
        if whole is not None and isinstance(attention, StepAttention) and attention.tables is not None:
            return self.capped(whole(hidden, attention.cache, attention.tables, chosen))
        turns = self.turns(positions)
        more: Tensor | None = None  # what the last layer adds
        for index, layer in enumerate(self._adapted if adapted else self.layers):
            normed = layer.attention_norm(hidden, more)
            mixed = self._attention(index, layer, normed, turns[layer.rope], attention)
            more = self._mlp(layer, layer.mlp_norm(hidden, mixed))
        if not len(chosen):
            return hidden.new_empty(0, self.vocab, dtype=torch.float32)
        return self.capped(
            self.head(self.last_norm(hidden[chosen], None if more is None else more[chosen])).float()
        )

    def embedded(self, tokens: Tensor) -> Tensor:
        """What the first layer gets. tokens: [T] -> [T, N]."""
        hidden = self._embedding[tokens]
        return hidden if self._embedding_scale is None else hidden * self._embedding_scale

    def turns(self, positions: Tensor) -> dict[str | None, Turns]:
        """By the layers' kinds. positions: [T]."""
        dtype = self._embedding.dtype
        return {kind: rope.turns(positions, dtype) for kind, rope in self._ropes.items()}

    def capped(self, logits: Tensor) -> Tensor:
        """As the model's authors bound them."""
        cap = self.architecture.logit_softcap
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def _attention(
        self,
        index: int,
        layer: Layer,
        normed: Tensor,
        turns: Turns,
        attention: Attending,
    ) -> Tensor:
        shape = self.architecture
        qkv = layer.qkv(normed).view(-1, shape.heads + 2 * shape.kv_heads, shape.head_dim)
        mixed = attention.attend(
            index,
            qkv,
            shape.kv_heads,
            turns,
            shape.attention_scale,
            layer.window,
            norms=self.head_norms[index],
        )
        out = layer.attention_out(mixed.flatten(1))
        return out if layer.attention_post_norm is None else layer.attention_post_norm(out)

    def _mlp(self, layer: Layer, normed: Tensor) -> Tensor:
        out = layer.down(self._gated(layer.gate_up(normed)))
        return out if layer.mlp_post_norm is None else layer.mlp_post_norm(out)

    def _gated(self, gate_up: Tensor) -> Tensor:
        is_gelu = self.architecture.activation == GELU
        if self._kernels is not None and self._kernels.norms(gate_up.shape[1] // 2, gate_up.dtype):
            return self._kernels.gate(gate_up, is_gelu)
        gate, up = gate_up.chunk(2, dim=-1)
        active = gelu(gate, approximate="tanh") if is_gelu else silu(gate)
        return active.mul_(up)


def _adapted(layer: Layer, index: int, mixer: Mixer) -> Layer:
    first = PRODUCTS * index
    return replace(
        layer,
        qkv=AdaptedLinear(layer.qkv, first, mixer),
        attention_out=AdaptedLinear(layer.attention_out, first + 1, mixer),
        gate_up=AdaptedLinear(layer.gate_up, first + 2, mixer),
        down=AdaptedLinear(layer.down, first + 3, mixer),
    )
