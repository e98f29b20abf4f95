"""One layer of a decoder: its weights, put together from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.architecture import Architecture
from engine.checkpoint import Checkpoint
from engine.linear import Linear, Linears
from engine.norm import Norm, Pointwise


@dataclass(frozen=True, slots=True)
class Layer:
    window: int | None
    rope: str | None
    attention_norm: Norm
    qkv: Linear
    head_norms: Tensor | None  # [H + Hkv, D]: queries' and keys' norms, a row a head
    attention_out: Linear
    attention_post_norm: Norm | None
    mlp_norm: Norm
    gate_up: Linear
    down: Linear
    mlp_post_norm: Norm | None


def layer_of(
    architecture: Architecture, weights: Checkpoint, linears: Linears, kernels: Pointwise | None, index: int
) -> Layer:
    own = f"layers.{index}."
    qkv = [f"{own}self_attn.{name}_proj" for name in "qkv"]
    gate_up = [f"{own}mlp.{name}_proj" for name in ("gate", "up")]
    post = architecture.post_norms
    before_mlp = "pre_feedforward_layernorm" if post else "post_attention_layernorm"
    return Layer(
        window=architecture.windows[index],
        rope=architecture.rope_kinds[index],
        attention_norm=norm_of(architecture, weights, kernels, own + "input_layernorm"),
        qkv=_linear(weights, linears, qkv),
        head_norms=_head_norms(architecture, weights, own) if architecture.qk_norm else None,
        attention_out=_linear(weights, linears, [own + "self_attn.o_proj"]),
        attention_post_norm=norm_of(architecture, weights, kernels, own + "post_attention_layernorm")
        if post
        else None,
        mlp_norm=norm_of(architecture, weights, kernels, own + before_mlp),
        gate_up=_linear(weights, linears, gate_up),
        down=_linear(weights, linears, [own + "mlp.down_proj"]),
        mlp_post_norm=norm_of(architecture, weights, kernels, own + "post_feedforward_layernorm")
        if post
        else None,
    )


def _linear(weights: Checkpoint, linears: Linears, names: list[str]) -> Linear:
    """The product with several matrices at once; a bias where the checkpoint has one."""
    bias = weights.joined_if_there([f"{name}.bias" for name in names])
    return linears.of([f"{name}.weight" for name in names], bias)


def norm_of(architecture: Architecture, weights: Checkpoint, kernels: Pointwise | None, name: str) -> Norm:
    return Norm(_norm_weight(architecture, weights, name), architecture.norm_eps, kernels)


def _norm_weight(architecture: Architecture, weights: Checkpoint, name: str) -> Tensor:
    weight = weights.take(f"{name}.weight")
    # An offset needs float32: bfloat16 would round small weights away beside the 1.
    return weight.float() + architecture.norm_offset if architecture.norm_offset else weight


def _head_norms(architecture: Architecture, weights: Checkpoint, own: str) -> Tensor:
    query = _norm_weight(architecture, weights, own + "self_attn.q_norm").float()
    key = _norm_weight(architecture, weights, own + "self_attn.k_norm").float()
    return torch.cat((query.expand(architecture.heads, -1), key.expand(architecture.kv_heads, -1)))
