"""How a GGUF model's tokens are chosen where a request says nothing (pure)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

# What the file may say, by the names of a generation_config.json. The keys are those of the GGUF specification.
_KEYS: Final = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repetition_penalty": "general.sampling.penalty_repeat",
}
# llama.cpp's own (common/common.h), which people who have GGUF files are used to. At temperature 1 with nothing cut off
# a small quantised model soon says what nobody would.
_USUAL: Final = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}
_LEAST: Final = {"repetition_penalty": 1e-6}  # it divides


def gguf_sampling(field: Callable[[str], object]) -> dict[str, float]:
    """As a generation_config.json has it. `field` gives the file's value of a key, None where it has none; one that
    no sampler could take counts as none."""
    own = {name: value for name, key in _KEYS.items() if _fits(name, value := field(key))}
    return {**_USUAL, **own}  # type: ignore[dict-item]


def _fits(name: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return value >= _LEAST.get(name, 0) and (value <= 1 or name not in ("top_p", "min_p"))
