"""Which modules a configuration adapts, at which rank and scale; rules as PEFT has them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from engine.adapters.config import ALL_LINEAR, AdapterConfig
from engine.adapters.patterns import ANY_LAYER, Found, Pattern, end_of_name, find, layer_number, whole_name

T = TypeVar("T")


class Chosen(NamedTuple):
    rank: int
    scale: float


def choose(config: AdapterConfig, modules: Sequence[str]) -> dict[str, Chosen]:
    """Of these full names of linear modules within layers those that it adapts. Slow: in a thread.

    Raises ConfigFault for a pattern that is none or takes too long, whatever the modules are.
    """
    found = find(_patterns(config), modules)
    return {module: _chosen(config, module, found) for module in modules if _adapts(config, module, found)}


def _patterns(config: AdapterConfig) -> list[Pattern]:
    patterns: list[Pattern] = []
    wanted, left_out = config.target_modules, config.exclude_modules
    if isinstance(wanted, str) and wanted.lower() != ALL_LINEAR:
        patterns.append(whole_name("target_modules", wanted))
    if isinstance(left_out, str):
        patterns.append(whole_name("exclude_modules", left_out))
    if config.layers is not None:
        patterns += _layer_patterns(config)
    patterns += [end_of_name("rank_pattern", text) for text in config.rank_pattern]
    patterns += [end_of_name("alpha_pattern", text) for text in config.alpha_pattern]
    return patterns


def _layer_patterns(config: AdapterConfig) -> list[Pattern]:
    return [layer_number(text) for text in config.layers_pattern] or [ANY_LAYER]


def _adapts(config: AdapterConfig, module: str, found: Found) -> bool:
    wanted, left_out = config.target_modules, config.exclude_modules
    if _named("exclude_modules", left_out, module, found):
        return False
    if isinstance(wanted, str):
        return wanted.lower() == ALL_LINEAR or _named("target_modules", wanted, module, found)
    if module in wanted:
        return True
    return _named("target_modules", wanted, module, found) and _in_layers(config, module, found)


def _named(field: str, names: str | tuple[str, ...], module: str, found: Found) -> bool:
    """By a regular expression, or by a list of names or of their ends."""
    if isinstance(names, str):
        return module in found[whole_name(field, names)]
    return any(module == name or module.endswith(f".{name}") for name in names)


def _in_layers(config: AdapterConfig, module: str, found: Found) -> bool:
    if config.layers is None:
        return True
    numbers = (found[pattern].get(module) for pattern in _layer_patterns(config))
    number = next(filter(None, numbers), None)
    return number is not None and int(number) in config.layers


def _chosen(config: AdapterConfig, module: str, found: Found) -> Chosen:
    rank = _by_pattern("rank_pattern", config.rank_pattern, module, config.r, found)
    alpha = _by_pattern("alpha_pattern", config.alpha_pattern, module, config.alpha, found)
    return Chosen(rank, alpha / (math.sqrt(rank) if config.rslora else rank))


def _by_pattern(field: str, values: Mapping[str, T], module: str, default: T, found: Found) -> T:
    return next(
        (value for text, value in values.items() if module in found[end_of_name(field, text)]), default
    )
