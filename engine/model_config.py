"""A model's `config.json`: as it stands where it says everything, else by transformers' class for it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from engine.config import ModelError

# All that architecture, rope and models read of these families, and its type. One that a file lacks, or in another
# form, has a default or a meaning that only transformers' class knows.
_SAID: Final[dict[str, type | tuple[type, ...]]] = {
    "vocab_size": int,
    "hidden_size": int,
    "intermediate_size": int,
    "num_hidden_layers": int,
    "num_attention_heads": int,
    "num_key_value_heads": int,
    "head_dim": int,
    "hidden_act": str,
    "rms_norm_eps": float,
    "max_position_embeddings": int,
    "tie_word_embeddings": bool,
    "rope_parameters": dict,
    "eos_token_id": (int, list),
}
_PLAIN: Final = {
    "llama": _SAID,
    "qwen3": _SAID | {"layer_types": list, "sliding_window": (int, type(None))},
}
_STRANGE: Final = frozenset({"quantization_config", "partial_rotary_factor", "rope_theta", "rope_scaling"})


def read_config(folder: Path) -> Any:
    """The configuration of a model that generates text. Raises ModelError naming the fault and a way out."""
    if (plain := plain_config(folder)) is not None:
        return plain
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (ValueError, OSError, KeyError) as error:
        raise ModelError(f"{folder}: no configuration that transformers can read ({error})") from error
    if getattr(config, "quantization_config", None) is not None:
        raise ModelError(
            f"{folder}: its weights are quantised in a way that cannot be loaded; "
            "use the unquantised model or a GGUF"
        )
    if config.model_type == "gemma3":
        config = config.text_config
    if not hasattr(config, "num_hidden_layers") or not hasattr(config, "vocab_size"):
        raise ModelError(
            f"{folder}: a {config.model_type} model does not generate text; choose another model"
        )
    return config


def plain_config(folder: Path) -> SimpleNamespace | None:
    """The file's own words, if transformers' class would add nothing to them; its imports take 2 s."""
    try:
        content = json.loads((folder / "config.json").read_text())
        said = _PLAIN[content["model_type"]]
        known = all(isinstance(content[name], kind) for name, kind in said.items())
        if known and content["rope_parameters"]["rope_type"] == "default" and not _STRANGE & content.keys():
            return SimpleNamespace(**content)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # transformers will say what is wrong with it
    return None
