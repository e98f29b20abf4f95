"""Tiny GGUF files, as llama.cpp's converter would write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import gguf
import numpy as np
from safetensors.numpy import load_file
from transformers import AutoConfig

from engine.gguf_convert import hf_name

_NAMES = [
    "token_embd",
    "output_norm",
    "output",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "attn_q_norm",
    "attn_k_norm",
    "attn_norm",
    "post_attention_norm",
    "ffn_norm",
    "post_ffw_norm",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
]


def write_gguf(
    model: Path,
    target: Path,
    architecture: str,
    layers: int = 3,
    *,
    extra: str | None = None,
    quantised: gguf.GGMLQuantizationType | None = None,
    floats: Mapping[str, float] = MappingProxyType({}),
) -> Path:
    """Write the safetensors folder `model` as one GGUF file with a byte-level vocabulary of its size."""
    config = AutoConfig.from_pretrained(model)
    tensors = load_file(model / "model.safetensors")
    writer = gguf.GGUFWriter(target, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(10_000.0)
    if architecture == "gemma3":
        writer.add_sliding_window(config.sliding_window)
    for key, value in floats.items():
        writer.add_float32(key, value)
    _write_vocabulary(writer, config.vocab_size)
    for name in _gguf_names(layers):
        tensor = tensors.get(hf_name(name, architecture) or "")
        if tensor is not None:
            _add(writer, name, _as_llama_cpp(name, tensor, architecture, config), quantised)
    if extra:
        writer.add_tensor(extra, np.ones(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _add(
    writer: gguf.GGUFWriter, name: str, tensor: np.ndarray, quantised: gguf.GGMLQuantizationType | None
) -> None:
    if quantised is None or tensor.ndim == 1:
        writer.add_tensor(name, tensor)
    else:
        writer.add_tensor(name, gguf.quantize(tensor, quantised), raw_dtype=quantised)


def _gguf_names(layers: int) -> list[str]:
    top, inner = _NAMES[:3], _NAMES[3:]
    stems = [*top, *(f"blk.{layer}.{name}" for layer in range(layers) for name in inner)]
    return [f"{stem}.{suffix}" for stem in stems for suffix in ("weight", "bias")]


def _as_llama_cpp(name: str, tensor: np.ndarray, architecture: str, config: object) -> np.ndarray:
    part = name.split(".")[-2]
    heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
    if architecture == "llama" and part in heads:
        count = getattr(config, heads[part])
        halves = tensor.reshape(count, 2, tensor.shape[0] // count // 2, *tensor.shape[1:])
        return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(tensor.shape))
    return tensor + 1 if architecture == "gemma3" and part.endswith("norm") else tensor


def _write_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    letters = [chr(0x100 + index) for index in range(size - 4)]
    tokens = ["<unk>", "<s>", "</s>", *letters, letters[0] + letters[1]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (size - 3))
    writer.add_token_merges([f"{letters[0]} {letters[1]}"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
