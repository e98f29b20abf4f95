"""A model's `config.json`: as it stands where it says everything, else by transformers' class for it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from engine.config import ModelError
from engine.regular_files import check_files

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
# Lists of the first's length are made before any weight is looked at; within less than the second nothing can be said.
_BOUNDS: Final = {
    "num_hidden_layers": (1, 1000),
    "max_position_embeddings": (16, 1 << 30),
    "vocab_size": (1, 1 << 24),
}
_STRANGE: Final = frozenset({"quantization_config", "partial_rotary_factor", "rope_theta", "rope_scaling"})


def read_config(folder: Path) -> Any:
    """The configuration of a model that generates text. Raises ModelError naming the fault and a way out."""
    path = folder / "config.json"
    check_files(folder)
    try:
        content = read_object(path)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; copy the model's own there") from None
    for part in (content, content.get("text_config")):
        if isinstance(part, dict):
            _check_bounds(path, part)
    if (plain := plain_config(content)) is not None:
        return plain
    from transformers import CONFIG_MAPPING, AutoConfig

    kind = content.get("model_type")
    if isinstance(kind, str) and kind not in CONFIG_MAPPING:
        raise ModelError(
            f"{path}: the architecture {kind[:80]!r} is none of those that this server knows; choose another model"
        )
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers lets through whatever it meets in the file
        fault = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"{path}: no configuration that transformers can read ({fault}); mend it, or copy the model's own there"
        ) from error
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


def _check_bounds(path: Path, content: dict[str, Any]) -> None:
    for name, (low, high) in _BOUNDS.items():
        value = content.get(name)
        if isinstance(value, int | float) and not low <= value <= high:
            raise ModelError(
                f"{path}: {name} is {value}, not a number from {low} to {high}; copy the model's own there"
            )


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object. Raises ModelError naming the file, FileNotFoundError where there is none."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise
    except RecursionError:
        raise ModelError(f"{path}: not readable as JSON (nested too deep); mend or replace it") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not readable as JSON ({error}); mend or replace it") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: not a JSON object; mend or replace it")
    return content


def plain_config(content: dict[str, Any]) -> SimpleNamespace | None:
    """The file's own words, if transformers' class would add nothing to them; its imports take 2 s."""
    try:
        said = _PLAIN[content["model_type"]]
        known = all(isinstance(content[name], kind) for name, kind in said.items())
        if known and content["rope_parameters"]["rope_type"] == "default" and not _STRANGE & content.keys():
            return SimpleNamespace(**content)
    except (KeyError, TypeError):
        pass  # transformers will say what is wrong with it
    return None
