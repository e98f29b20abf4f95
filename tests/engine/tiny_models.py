"""Tiny models with random weights, saved as transformers would, and what `generate` makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from engine.batch import Row
from engine.config import EngineSettings
from engine.models import load_model
from engine.request import Sampling
from engine.runner import TorchRunner

VOCAB = 160
PAGE = 4
GREEDY = Sampling(temperature=0)

_SMALL = {
    "vocab_size": VOCAB,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_GROUPED = _SMALL | {"num_key_value_heads": 2}

LEAN: dict[str, dict[str, Any]] = {
    "llama": _GROUPED | {"tie_word_embeddings": True},
    "llama-biased": _GROUPED | {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "llama-scaled": _GROUPED
    | {
        "model_type": "llama",
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 1000.0,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    },
    "mistral": _GROUPED | {"sliding_window": 9, "head_dim": 16},
    "qwen2": _GROUPED,
    "qwen2-windowed": _GROUPED
    | {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1},
    "qwen3": _SMALL | {"num_key_value_heads": 3, "head_dim": 10, "tie_word_embeddings": True},
    "gemma3_text": _GROUPED
    | {
        "head_dim": 12,
        "sliding_window": 6,
        "query_pre_attn_scalar": 20,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "final_logit_softcapping": 3.0,
        "tie_word_embeddings": False,
    },
}
GENERIC: dict[str, dict[str, Any]] = {
    "gpt_neox": _SMALL,
    "gpt2": {"vocab_size": VOCAB, "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "phi3": _GROUPED | {"sliding_window": 8},
    "olmo2": _GROUPED,
    "gemma2": _GROUPED
    | {"head_dim": 8, "sliding_window": 6, "attn_logit_softcapping": 5.0, "tie_word_embeddings": False},
    "llama-odd": _GROUPED | {"model_type": "llama", "hidden_act": "relu"},
}

# Of sizes that our own kernels compute.
WIDE: dict[str, dict[str, Any]] = {
    "llama-wide": _GROUPED | {"model_type": "llama", "head_dim": 32},
    "gemma3-wide": LEAN["gemma3_text"] | {"model_type": "gemma3_text", "head_dim": 96},
    "neox-wide": _SMALL | {"model_type": "gpt_neox", "hidden_size": 64, "num_attention_heads": 2},
}


def save_tiny(name: str, folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Save a tiny model of the named kind; weights large enough that its greedy choices vary."""
    options = (LEAN | GENERIC | WIDE)[name] | changes
    config = AutoConfig.for_model(options.pop("model_type", name), **options)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(noise * 0.2 if parameter.ndim > 1 else parameter + noise * 0.1)
    model.save_pretrained(folder)
    return folder


def generated(folder: Path, prompt: list[int], count: int) -> list[int]:
    """What transformers generates greedily."""
    # Of what torch's own attention leaves out, caps of scores, some releases do not think by themselves.
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    return out[0, len(prompt) :].tolist()


def runner_for(folder: Path, **changes: Any) -> TorchRunner:
    settings = EngineSettings(**{"dtype": "float32", "page_tokens": PAGE, "kv_bytes": 4 << 20} | changes)
    return TorchRunner(load_model(folder, settings), settings)


def rows_of(
    prompt: list[int],
    reply: list[int],
    pages: list[int],
    chunk: int,
    done: int,
    sampling: Sampling = GREEDY,
    seed: int = 0,
) -> Row:
    """The next row of a sequence of which `done` tokens are computed."""
    tokens = (prompt + reply)[done : done + chunk]
    sample = done + len(tokens) == len(prompt) + len(reply)
    return Row(tokens, done, pages, sampling, seed, sample)
