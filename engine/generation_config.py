"""A model's `generation_config.json`: what its authors recommend, or the fault that is in it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

from engine.config import ModelError
from engine.model_config import read_object
from engine.request import Sampling

_MAX_ID: Final = (1 << 31) - 1
# As requests may have them, but for temperatures, of which some authors recommend higher ones.
_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "temperature": (0, 100),
    "top_p": (0, 1),
    "top_k": (0, _MAX_ID),
    "min_p": (0, 1),
    "repetition_penalty": (0.01, 100),
}


def read_generation_config(folder: Path) -> dict[str, Any]:
    """The file itself, for transformers' class fills in defaults that the authors did not choose.

    Raises ModelError for what no sampler could take: every request would meet it.
    """
    path = folder / "generation_config.json"
    try:
        content = read_object(path)
    except FileNotFoundError:
        return {}
    for name, (low, high) in _BOUNDS.items():
        value = content.get(name)
        if value is not None and not (_is_number(value) and low <= value <= high):
            raise ModelError(
                f"{path}: {name} is not a number from {low:g} to {high:g}; mend it, or leave it out"
            )
    ends = content.get("eos_token_id")
    for end in ends if isinstance(ends, list) else [ends]:
        if end is not None and not (type(end) is int and 0 <= end <= _MAX_ID):
            raise ModelError(f"{path}: eos_token_id is no token's id, or no list of them; mend it")
    return content


def recommended(generation: dict[str, Any]) -> Sampling:
    plain = Sampling()
    return Sampling(
        temperature=0.0 if generation.get("do_sample") is False else _or(generation, "temperature", plain),
        top_p=_or(generation, "top_p", plain),
        top_k=int(_or(generation, "top_k", plain)),
        min_p=_or(generation, "min_p", plain),
        repetition_penalty=_or(generation, "repetition_penalty", plain),
    )


def _or(generation: dict[str, Any], name: str, plain: Sampling) -> float:
    value = generation.get(name)
    return float(getattr(plain, name) if value is None else value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
