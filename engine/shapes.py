"""Whether a folder's matrices have the shapes that its configuration speaks of: our C reads as far as that says."""

from __future__ import annotations

from typing import Any

from engine.architecture import Architecture
from engine.config import ModelError
from engine.quantized import GROUP
from engine.weight_files import CODES, Listed, WeightFiles


def check_shapes(files: WeightFiles, config: Any, architecture: Architecture) -> None:
    """Raises ModelError naming the first matrix that does not fit."""
    expected = _expected(config, architecture)
    for one in files.listed():
        name = one.name.removesuffix(CODES)
        wanted = next((shape for end, shape in expected.items() if name.endswith(end)), None)
        if wanted is not None and _shape(one) != wanted:
            raise ModelError(
                f"{files.folder}: {one.name} is {_words(_shape(one))} where config.json speaks of {_words(wanted)}; "
                "the file is damaged or of another model, copy the folder again"
            )


def _expected(config: Any, architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """By the end of a tensor's name: outputs, inputs."""
    hidden, inner = int(config.hidden_size), int(config.intermediate_size)
    queries = architecture.heads * architecture.head_dim
    keys = architecture.kv_heads * architecture.head_dim
    return {
        "embed_tokens.weight": (architecture.vocab, hidden),
        "lm_head.weight": (architecture.vocab, hidden),
        "self_attn.q_proj.weight": (queries, hidden),
        "self_attn.k_proj.weight": (keys, hidden),
        "self_attn.v_proj.weight": (keys, hidden),
        "self_attn.o_proj.weight": (hidden, queries),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
    }


def _shape(one: Listed) -> tuple[int, ...]:
    """Of the matrix that codes stand for: outputs, groups, a group's bytes."""
    if one.name.endswith(CODES) and len(one.shape) == 3:
        return one.shape[0], one.shape[1] * GROUP
    return one.shape


def _words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
