"""PEFT's `adapter_config.json`: which modules it adapts, at which rank and scale, and what of it we lack (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

ALL_LINEAR: Final = "all-linear"
_KINDS: Final[dict[str, tuple[object, ...]]] = {
    "peft_type": ("LORA",),
    "task_type": ("CAUSAL_LM", None),
    "bias": ("none", None),
    # Others begin with base weights that they have changed, or are methods of their own.
    "init_lora_weights": (True, False, None, "gaussian", "eva", "orthogonal"),
}
# What says how it was trained, or only matters beside what is refused. `fan_in_fan_out` is about how a base matrix is
# stored: the low-rank matrices are the same.
_HARMLESS: Final = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "ensure_weight_tying",
        "eva_config",
        "fan_in_fan_out",
        "inference_mode",
        "layers_pattern",
        "lora_dropout",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
    }
)
_READ: Final = frozenset(
    {
        "alpha_pattern",
        "exclude_modules",
        "layers_to_transform",
        "lora_alpha",
        "r",
        "rank_pattern",
        "target_modules",
        "use_rslora",
    }
)
_MAX_PATTERN: Final = 2048  # characters of a regular expression
_MAX_PATTERNS: Final = 4096  # of a field: a rank for each linear module of 500 layers
_MAX_RANK: Final = 1 << 16  # past every model's hidden size a rank is of no use


class ConfigFault(ValueError):
    """What is wrong with a configuration: begins with the field's name."""


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What the matrices are multiplied with, and where they belong. Its patterns are texts that nobody has compiled."""

    r: int
    alpha: float
    rslora: bool
    target_modules: str | tuple[str, ...]
    exclude_modules: str | tuple[str, ...]
    layers: frozenset[int] | None  # None: all
    layers_pattern: tuple[str, ...]
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    base: str  # what it was trained on, as its author called it


def parse_config(content: object) -> AdapterConfig:
    """Raises ConfigFault naming the first field that is wrong or not supported."""
    if not isinstance(content, dict):
        raise ConfigFault("it is not a JSON object")
    for field, kinds in _KINDS.items():
        if not any(content.get(field) is kind or content.get(field) == kind for kind in kinds):
            shown = " or ".join(repr(kind) for kind in kinds if kind is not None)
            raise ConfigFault(f"{field} is {content.get(field)!r}; only {shown} is supported")
    for field, value in content.items():
        if value and field not in _HARMLESS and field not in _READ and field not in _KINDS:
            raise ConfigFault(f"{field} is set, which is not supported; use a plain LoRA adapter")
    return AdapterConfig(
        r=_rank(content.get("r"), "r"),
        alpha=_number(content.get("lora_alpha"), "lora_alpha"),
        rslora=_flag(content.get("use_rslora"), "use_rslora"),
        target_modules=_modules(content.get("target_modules"), "target_modules", needed=True),
        exclude_modules=_modules(content.get("exclude_modules"), "exclude_modules", needed=False),
        layers=_layers(content.get("layers_to_transform")),
        layers_pattern=_patterns(content.get("layers_pattern")),
        rank_pattern={
            pattern: _rank(value, "rank_pattern")
            for pattern, value in _table(content.get("rank_pattern"), "rank_pattern").items()
        },
        alpha_pattern={
            pattern: _number(value, "alpha_pattern")
            for pattern, value in _table(content.get("alpha_pattern"), "alpha_pattern").items()
        },
        base=str(content.get("base_model_name_or_path") or "unknown"),
    )


def _rank(value: object, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_RANK:
        raise ConfigFault(f"{field} is {_shown(value)}, not a rank of 1 to {_MAX_RANK}")
    return value


def _number(value: object, field: str) -> float:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:  # a whole number past the greatest float
        pass
    raise ConfigFault(f"{field} is {_shown(value)}, not a number within a float's range")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _flag(value: object, field: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise ConfigFault(f"{field} is {value!r}, neither true nor false")
    return bool(value)


def _modules(value: object, field: str, *, needed: bool) -> str | tuple[str, ...]:
    if not value and not needed:
        return ()
    if isinstance(value, str) and value:
        return value if value.lower() == ALL_LINEAR else _pattern(value, field)
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise ConfigFault(f"{field} is {value!r}, neither names of modules nor a regular expression")


def _layers(value: object) -> frozenset[int] | None:
    if value is None or value == []:
        return None
    layers = value if isinstance(value, list) else [value]
    if not all(isinstance(layer, int) and not isinstance(layer, bool) for layer in layers):
        raise ConfigFault(f"layers_to_transform is {value!r}, not numbers of layers")
    return frozenset(layers)


def _patterns(value: object) -> tuple[str, ...]:
    patterns = [value] if isinstance(value, str) else value or []
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise ConfigFault(f"layers_pattern is {value!r}, not names")
    if len(patterns) > _MAX_PATTERNS:
        raise ConfigFault(f"layers_pattern has {len(patterns)} patterns; {_MAX_PATTERNS} are the most")
    return tuple(_pattern(pattern, "layers_pattern") for pattern in patterns if pattern)


def _table(value: object, field: str) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigFault(f"{field} is {value!r}, not an object")
    if len(value) > _MAX_PATTERNS:
        raise ConfigFault(f"{field} has {len(value)} patterns; {_MAX_PATTERNS} are the most")
    return {_pattern(pattern, field): number for pattern, number in value.items()}


def _pattern(text: str, field: str) -> str:
    if len(text) > _MAX_PATTERN:
        raise ConfigFault(
            f"{field} holds {text[:80]!r}... of {len(text)} characters; a pattern may have {_MAX_PATTERN}"
        )
    return text
