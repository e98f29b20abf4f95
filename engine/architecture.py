"""What distinguishes the families that our own decoder computes, read from transformers' configurations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from engine.rope import head_dim

FAMILIES: Final = ("llama", "mistral", "qwen2", "qwen3", "gemma3_text")
GELU: Final = "gelu_pytorch_tanh"
_ACTIVATIONS: Final = ("silu", GELU)


@dataclass(frozen=True, slots=True)
class Architecture:
    """One decoder. Tuples have an entry a layer."""

    vocab: int
    heads: int
    kv_heads: int
    head_dim: int
    norm_eps: float
    attention_scale: float
    activation: str  # one of _ACTIVATIONS
    windows: tuple[int | None, ...]  # tokens a query sees, itself included; None: all
    rope_kinds: tuple[
        str | None, ...
    ]  # the layer type that names the layer's rotary embedding; None: one for all
    qk_norm: bool
    post_norms: bool  # attention's and MLP's outputs are normed too
    norm_offset: float  # norms multiply by offset + weight
    embedding_scale: float | None
    logit_softcap: float | None
    tied: bool  # the output matrix is the embedding

    @property
    def layers(self) -> int:
        return len(self.windows)


def architecture_of(config: Any) -> Architecture | None:
    """The architecture our decoder would compute, or None: the model runs on transformers' modules."""
    gemma = config.model_type == "gemma3_text"
    activation = config.hidden_activation if gemma else getattr(config, "hidden_act", None)
    if config.model_type not in FAMILIES or activation not in _ACTIVATIONS or _is_odd(config):
        return None
    dim = head_dim(config)
    layer_types = _layer_types(config)
    sliding = [kind == "sliding_attention" for kind in layer_types]
    return Architecture(
        vocab=config.vocab_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=dim,
        norm_eps=config.rms_norm_eps,
        attention_scale=float(config.query_pre_attn_scalar if gemma else dim) ** -0.5,
        activation=activation,
        windows=tuple(config.sliding_window if is_sliding else None for is_sliding in sliding),
        rope_kinds=tuple(layer_types) if gemma else (None,) * len(layer_types),
        qk_norm=gemma or config.model_type == "qwen3",
        post_norms=gemma,
        norm_offset=1.0 if gemma else 0.0,
        embedding_scale=float(config.hidden_size) ** 0.5 if gemma else None,
        logit_softcap=config.final_logit_softcapping if gemma else None,
        tied=bool(config.tie_word_embeddings),
    )


def _layer_types(config: Any) -> list[str]:
    if kinds := getattr(config, "layer_types", None):
        return list(kinds)
    window = getattr(config, "sliding_window", None) if config.model_type == "mistral" else None
    return ["full_attention" if window is None else "sliding_attention"] * int(config.num_hidden_layers)


def _is_odd(config: Any) -> bool:
    """Options of these families that nobody ships and our decoder lacks."""
    kinds = (
        config.rope_parameters.values() if config.model_type == "gemma3_text" else [config.rope_parameters]
    )
    return (
        getattr(config, "attn_logit_softcapping", None) is not None
        or bool(getattr(config, "use_bidirectional_attention", False))
        or any(kind.get("partial_rotary_factor", 1.0) != 1.0 for kind in kinds)
    )
