"""The next tokens of a whole batch without a word from the processor: `engine.sampler` in tensors alone.

Same operations in the same order on each row, so that a seed gives the same token on either road.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from engine.request import Sampling
from engine.sampler import COLDEST, NEAR, filtered, limit_of, noise, peaks_of, seed_key

UNDECIDED: Final = -1  # the candidates at hand are not all that the row's filters leave
BROKEN: Final = -2  # the row's logits are not numbers
_GOLDEN: Final = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST: Final = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND: Final = 0x94D049BB133111EB - (1 << 64)


class Kind(enum.IntEnum):
    """What a batch needs at the most; each does what those before it do."""

    GREEDY = 0
    FREE = 1  # some rows draw from all tokens
    FILTERED = 2  # some rows have top_k or top_p
    SHAPED = 3  # some rows change their logits (`shaped`), before anything is chosen


@dataclass(frozen=True, slots=True)
class Wishes:
    """How each row's token is chosen."""

    whole: Tensor  # int64 [2, B]: seeds' keys, top_k
    real: Tensor  # float32 [3, B]: temperatures, limits of top_p, min_p

    @classmethod
    def of(cls, rows: int, device: torch.device) -> Wishes:
        """Greedy for all."""
        return cls(
            torch.zeros(2, rows, dtype=torch.int64, device=device), torch.zeros(3, rows, device=device)
        )

    def first(self, rows: int) -> Wishes:
        return Wishes(self.whole[:, :rows], self.real[:, :rows])

    @property
    def keys(self) -> Tensor:
        return self.whole[0]

    @property
    def most(self) -> Tensor:
        """top_k, 0: all."""
        return self.whole[1]

    @property
    def temperatures(self) -> Tensor:
        return self.real[0]

    @property
    def limits(self) -> Tensor:
        return self.real[1]

    @property
    def least(self) -> Tensor:
        return self.real[2]


def wish_of(sampling: Sampling, seed: int) -> tuple[int, float, int, float, float]:
    """A row's entry of each of `Wishes`."""
    key = seed_key(seed)
    signed = key - (1 << 64) if key >> 63 else key
    return signed, sampling.temperature, sampling.top_k, limit_of(sampling), sampling.min_p


def kind_of(sampling: Sampling) -> Kind:
    """What the choice takes once the logits are as they should be."""
    if sampling.temperature <= COLDEST:
        return Kind.GREEDY
    return Kind.FILTERED if sampling.top_k > 0 or sampling.top_p < 1 else Kind.FREE


def choose(logits: Tensor, wishes: Wishes, positions: Tensor, kind: Kind) -> Tensor:
    """A token for each row, or UNDECIDED, or BROKEN. logits: float32 [B, V]; positions: [B], the tokens' -> [B]."""
    peaks, tokens = peaks_of(logits)
    if kind > Kind.GREEDY:
        drawing = wishes.temperatures > COLDEST
        scaled = (logits - peaks[:, None]) / torch.where(drawing, wishes.temperatures, 1.0)[:, None]
        words = words_of(wishes.keys, positions)
        vocabulary = torch.arange(scaled.shape[1], dtype=torch.int32, device=scaled.device)
        drawn = _pick(scaled, vocabulary.expand(scaled.shape), words, wishes.least)
        if kind >= Kind.FILTERED:
            drawn = torch.where(_filters(wishes), _pick_filtered(scaled, words, wishes), drawn)
        tokens = torch.where(drawing, drawn, tokens)
    return torch.where(torch.isfinite(peaks), tokens, BROKEN)


def words_of(keys: Tensor, positions: Tensor) -> Tensor:
    """The halves of each row's key, as `sampler.gumbel` makes them. int64 [B] each -> int32 [B, 2]."""
    bits = (keys ^ positions) + _GOLDEN
    bits = (bits ^ _shifted(bits, 30)) * _FIRST
    bits = (bits ^ _shifted(bits, 27)) * _SECOND
    bits = bits ^ _shifted(bits, 31)
    return torch.stack((bits, bits >> 32), -1).to(torch.int32)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """To the right, zeros following."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _filters(wishes: Wishes) -> Tensor:
    return (wishes.most > 0) | (wishes.limits < 1)


def _pick_filtered(scaled: Tensor, words: Tensor, wishes: Wishes) -> Tensor:
    near, tokens = torch.topk(scaled, min(NEAR, scaled.shape[1]))
    candidates, limited = near.shape[1], wishes.most > 0
    totals = torch.logsumexp(scaled, -1)
    most = torch.where(limited, wishes.most, candidates)[:, None]
    kept = filtered(near, totals, most, limited, wishes.limits[:, None])
    picked = _pick(kept, tokens.to(torch.int32), words, wishes.least)
    if candidates == scaled.shape[1]:
        return picked
    covered = (near[:, :-1] - totals[:, None]).exp().sum(-1)
    enough = limited & (wishes.most <= candidates)
    enough |= (wishes.limits < 1) & (covered >= wishes.limits)
    return torch.where(enough, picked, UNDECIDED)


def _pick(scaled: Tensor, tokens: Tensor, words: Tensor, least: Tensor) -> Tensor:
    """The Gumbel maximum of each row after min_p. scaled, tokens: [B, K] -> int64 [B]."""
    scaled = scaled.masked_fill(scaled < least.log()[:, None], float("-inf"))
    winners = (scaled + noise(words, tokens)).argmax(-1, keepdim=True)
    return tokens.gather(1, winners)[:, 0].long()
