"""The log probabilities of one sequence's tokens, as the model itself has them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class TokenScores(NamedTuple):
    """A token's log probability, and the likeliest tokens with theirs, the likeliest first."""

    logprob: float
    top: tuple[tuple[int, float], ...]


class Scores:
    """Looks at a row before anything changes it, and is asked for the token when that is known."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._row: Tensor | None = None  # log probabilities, [V]

    def look(self, logits: Tensor) -> None:
        """logits: [V], not kept."""
        self._row = torch.log_softmax(logits, dim=-1)

    def of(self, token: int) -> TokenScores:
        """The scores in the row that was looked at last."""
        assert self._row is not None
        values, tokens = torch.topk(self._row, min(self._top, len(self._row)))
        return TokenScores(float(self._row[token]), tuple(zip(tokens.tolist(), values.tolist(), strict=True)))
