"""What a model asks of a step's attention, whatever computes it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from engine.norm import HeadNorms
from engine.rope import Turns


class Attending(Protocol):
    """Attention for the rows of one step. Layers call `attend` in turn."""

    @property
    def decoding(self) -> int:
        """How many tokens the step has if all its rows decode, else 0."""
        ...

    def attend(
        self,
        layer: int,
        qkv: Tensor,
        kv_heads: int,
        turns: Turns | None,
        scale: float,
        window: int | None = None,
        softcap: float | None = None,
        norms: HeadNorms | None = None,
    ) -> Tensor:
        """Norm and turn queries and keys if `norms` and `turns` say so, store the tokens' keys and values, then attend.

        qkv: [T, H + 2 Hkv, D], contiguous; may be changed -> [T, H, D].
        """
        ...
