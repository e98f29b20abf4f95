"""The products of a model that an adapter may change, by the names that its author knew them by (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

TEXT_MODEL: Final = ("model.", "", "model.language_model.", "language_model.model.", "language_model.")
"""What stands before the names of a text model's modules, alone or as a part of a larger model."""
PRODUCTS: Final = 4
"""Of a layer of our own decoder, in this order: qkv, attention's output, gate and up, down."""


@dataclass(frozen=True, slots=True)
class Site:
    """One product: the modules whose matrices lie in it, one below the other, and how many outputs each has."""

    modules: tuple[str, ...]
    inputs: int
    outputs: tuple[int, ...]


class Place(NamedTuple):
    """A module within its product."""

    site: int
    part: int


class Targets:
    """All of a model's sites; module names are what follows one of `prefixes`."""

    def __init__(self, sites: tuple[Site, ...], prefixes: tuple[str, ...] = ("",)) -> None:
        self.sites, self.prefixes = sites, prefixes
        self.places = {
            module: Place(site, part)
            for site, one in enumerate(sites)
            for part, module in enumerate(one.modules)
        }

    def find(self, path: str) -> tuple[str, str] | None:
        """The prefix and the module that a full name is made of; None if there is no such module."""
        for prefix in self.prefixes:
            module = path.removeprefix(prefix)
            if path.startswith(prefix) and module in self.places:
                return prefix, module
        return None

    def shape(self, module: str) -> tuple[int, int]:
        """Inputs and outputs."""
        site, part = self.places[module]
        return self.sites[site].inputs, self.sites[site].outputs[part]


def decoder_targets(
    layers: int, hidden: int, intermediate: int, heads: int, kv_heads: int, head_dim: int
) -> Targets:
    """Those of our own decoder; product k of layer i is site `PRODUCTS * i + k`."""
    sites: list[Site] = []
    queries, keys = heads * head_dim, kv_heads * head_dim
    for layer in range(layers):
        attention, mlp = f"layers.{layer}.self_attn.", f"layers.{layer}.mlp."
        qkv = (attention + "q_proj", attention + "k_proj", attention + "v_proj")
        sites += [
            Site(qkv, hidden, (queries, keys, keys)),
            Site((attention + "o_proj",), queries, (hidden,)),
            Site((mlp + "gate_proj", mlp + "up_proj"), hidden, (intermediate, intermediate)),
            Site((mlp + "down_proj",), intermediate, (hidden,)),
        ]
    return Targets(tuple(sites), TEXT_MODEL)
