"""Rotary positions: the frequencies as transformers computes them, applied to queries and keys in one go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

# Their frequencies depend on the longest sequence of a batch: neighbours would change each other's text.
LENGTH_DEPENDENT: Final = frozenset({"dynamic", "longrope"})

_LEAST_TURNS: Final = 1024


@dataclass(frozen=True, slots=True)
class Turns:
    """What the heads of each token are multiplied with; the first half of each sin is negative."""

    exact: Tensor  # float32 [T, 2, D]: cos and sin
    cos: Tensor  # [T, 1, D], in the type of what is turned
    sin: Tensor


@dataclass(frozen=True, slots=True)
class Rope:
    """One kind of rotary embedding. inverse_frequencies: [D / 2]."""

    inverse_frequencies: Tensor
    scale: float

    def turns(self, positions: Tensor, dtype: torch.dtype) -> Turns:
        """For queries and keys in `dtype`. positions: [T]."""
        angles = positions.to(torch.float32)[:, None, None] * self.inverse_frequencies
        cos, sin = angles.cos() * self.scale, angles.sin() * self.scale
        exact = torch.cat((cos, cos, -sin, sin), -1).view(len(positions), 2, -1)
        return Turns(exact, *exact.to(dtype).chunk(2, dim=1))


class TurnTable:
    """The turns of a rope's first positions, made once, and for twice as many where they do not suffice."""

    def __init__(self, rope: Rope) -> None:
        self._rope = rope
        self._exact = torch.empty(0)

    def at(self, positions: Tensor, end: int) -> Tensor:
        """float32 [T, 2, D], see `Turns.exact`. positions: [T], all before `end`."""
        if end > len(self._exact):
            first = torch.arange(max(end, 2 * len(self._exact), _LEAST_TURNS))
            self._exact = self._rope.turns(first, torch.float32).exact
        return self._exact[positions]


def rope_for(config: Any, layer_type: str | None, device: torch.device) -> Rope:
    """The rotary embedding of `config`; `layer_type` where each kind of layer has its own."""
    parameters = config.rope_parameters[layer_type] if layer_type else config.rope_parameters
    kind = parameters["rope_type"]
    if kind == "default":
        dim = head_dim(config)
        exponents = torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim
        return Rope(1.0 / (parameters["rope_theta"] ** exponents), 1.0)
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS  # slow, and seldom needed

    inverse_frequencies, scale = ROPE_INIT_FUNCTIONS[kind](config, device, layer_type=layer_type)
    return Rope(inverse_frequencies.to(device), float(scale))


def rotate(x: Tensor, turns: Turns) -> None:
    """Rotate x in place. x: [T, heads, D]."""
    swapped = torch.roll(x, x.shape[-1] // 2, -1)
    torch.addcmul(x * turns.cos, swapped, turns.sin, out=x)


def head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def steady_context(config: Any) -> int:
    """How far the model reaches while its frequencies stay the same for every length."""
    limit = int(config.max_position_embeddings)
    parameters = getattr(config, "rope_parameters", None) or {}
    for kind in (parameters, *(value for value in parameters.values() if isinstance(value, dict))):
        if kind.get("rope_type") in LENGTH_DEPENDENT:
            limit = min(limit, int(kind.get("original_max_position_embeddings") or limit))
    return limit
