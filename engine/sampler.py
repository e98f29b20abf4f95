"""From logits to tokens: greedy, or Gumbel noise keyed by (seed, position), so that neighbours change nothing.

A request's own changes of its logits come first (`engine.shaping`). Filters apply in this order: temperature, top_k,
top_p of what is left, min_p of what is left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from engine.request import EngineError, Sampling
from engine.shaping import Shaping

# Candidates looked at before the whole vocabulary is sorted: 0.13 ms against 22 ms at 49,152 tokens. A row whose
# nucleus is larger is sorted whole.
NEAR: Final = 512
COLDEST: Final = 1e-5  # at or below it float32 leaves no chance to any but the likeliest token
_BLOCK: Final = 128
_MASK_32: Final = 0xFFFFFFFF
_MASK_64: Final = 0xFFFFFFFFFFFFFFFF
_LARGEST_BELOW_1: Final = 1.0 - 2.0**-24


@dataclass(frozen=True, slots=True)
class Choice:
    """How one row's next token is chosen; `position` is the one that the token will have."""

    sampling: Sampling
    seed: int
    position: int
    shaping: Shaping | None = None


def sample(logits: Tensor, choices: Sequence[Choice]) -> list[int | Exception]:
    """A token for each row, or its own failure. logits: [R, V], float32; a row that is not finite fails.

    Rows with a shaping are changed in place.
    """
    faults = _shape(logits, choices)
    peaks, best = peaks_of(logits)
    results: list[int | Exception] = list(best.tolist())
    drawn: list[int] = []
    for row, finite in enumerate(torch.isfinite(peaks).tolist()):
        if not finite:
            results[row] = broken()
        elif choices[row].sampling.temperature > COLDEST:
            drawn.append(row)
    if drawn:
        tokens = _draw(logits[drawn], peaks[drawn], [choices[row] for row in drawn])
        for row, token in zip(drawn, tokens, strict=True):
            results[row] = token
    for row, fault in faults:
        results[row] = fault
    return results


def broken() -> EngineError:
    """Why a row whose logits are not finite fails."""
    return EngineError("model_error", "the model's output for this sequence is not a number")


def peaks_of(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The greatest of each row and the first place where it stands; a NaN anywhere is the greatest. [R, V] -> [R] each.

    By numpy on a processor, 34 µs for 8 rows of 49,152 against torch's 680. Elsewhere in blocks, since torch finds a
    maximum faster than its place: there 57.
    """
    if logits.device.type == "cpu":
        best = torch.from_numpy(logits.numpy().argmax(-1))
        return logits.gather(1, best[:, None])[:, 0], best
    return peaks_in_blocks(logits)


def peaks_in_blocks(logits: Tensor) -> tuple[Tensor, Tensor]:
    rows, size = logits.shape
    block = math.gcd(size, _BLOCK)
    blocks = logits.view(rows, -1, block)
    peaks, best = blocks.amax(-1).max(-1)
    within = blocks[torch.arange(rows, device=logits.device), best].max(-1).indices
    return peaks, best * block + within


def _shape(logits: Tensor, choices: Sequence[Choice]) -> list[tuple[int, EngineError]]:
    """Let the rows that have one apply their shaping; which of them cannot go on."""
    faults: list[tuple[int, EngineError]] = []
    for row, choice in enumerate(choices):
        if choice.shaping is not None:
            try:
                choice.shaping.apply(logits[row])
            except EngineError as error:
                faults.append((row, error))
    return faults


def _draw(logits: Tensor, peaks: Tensor, choices: Sequence[Choice]) -> list[int]:
    """logits: [R, V], peaks: [R]."""
    temperatures = _column([choice.sampling.temperature for choice in choices], logits)
    scaled = (logits - peaks[:, None]) / temperatures  # the peak at 0: no overflow when it is cold
    tokens = [0] * len(choices)
    filtered = [row for row, choice in enumerate(choices) if _filters(choice.sampling)]
    free = [row for row, choice in enumerate(choices) if not _filters(choice.sampling)]
    vocabulary = torch.arange(scaled.shape[1], dtype=torch.int32, device=scaled.device)
    for rows, pick in ((free, _pick_free), (filtered, _pick_filtered)):
        if rows:
            picked = pick(scaled[rows], vocabulary, [choices[row] for row in rows])
            for row, token in zip(rows, picked, strict=True):
                tokens[row] = token
    return tokens


def _filters(sampling: Sampling) -> bool:
    return sampling.top_k > 0 or sampling.top_p < 1


def _pick_free(scaled: Tensor, vocabulary: Tensor, choices: Sequence[Choice]) -> list[int]:
    return _pick(scaled, vocabulary.expand(scaled.shape), choices)


def _pick_filtered(scaled: Tensor, vocabulary: Tensor, choices: Sequence[Choice]) -> list[int]:
    """From the likeliest candidates where they hold all that the filters leave, else from the sorted row."""
    near, tokens = torch.topk(scaled, min(NEAR, scaled.shape[1]))
    totals = torch.logsumexp(scaled, -1)
    covered = (near[:, :-1] - totals[:, None]).exp().sum(-1).tolist()
    picked = _pick(_filtered(near, totals, choices), tokens.to(torch.int32), choices)
    for row, choice in enumerate(choices):
        if not _suffices(choice.sampling, near.shape[1], covered[row], len(vocabulary)):
            whole, order = torch.sort(scaled[row : row + 1], descending=True, stable=True)
            kept = _filtered(whole, totals[row : row + 1], [choice])
            (picked[row],) = _pick(kept, order.to(torch.int32), [choice])
    return picked


def _suffices(sampling: Sampling, candidates: int, covered: float, size: int) -> bool:
    return (
        candidates == size
        or 0 < sampling.top_k <= candidates
        or (sampling.top_p < 1 and covered >= sampling.top_p)
    )


def _filtered(ordered: Tensor, totals: Tensor, choices: Sequence[Choice]) -> Tensor:
    size = ordered.shape[1]
    most = torch.tensor([choice.sampling.top_k or size for choice in choices], device=ordered.device)
    limited = torch.tensor([choice.sampling.top_k > 0 for choice in choices], device=ordered.device)
    limits = _column([limit_of(choice.sampling) for choice in choices], ordered)
    return filtered(ordered, totals, most[:, None], limited, limits)


def limit_of(sampling: Sampling) -> float:
    """A top_p of 1 is off; compared with a sum that rounding may carry past 1 it would still remove the tail."""
    return sampling.top_p if sampling.top_p < 1 else float("inf")


def filtered(ordered: Tensor, totals: Tensor, most: Tensor, limited: Tensor, limits: Tensor) -> Tensor:
    """What top_k and top_p remove becomes minus infinity.

    ordered: [R, K], falling; totals: [R], log mass; most: [R, 1], top_k; limited: [R], whether that is less than all;
    limits: [R, 1], top_p.
    """
    rank = torch.arange(ordered.shape[1], device=ordered.device)
    ordered = ordered.masked_fill(rank >= most, float("-inf"))
    totals = torch.where(limited, torch.logsumexp(ordered, -1), totals)
    chances = (ordered - totals[:, None]).exp()
    before = chances.cumsum(-1) - chances
    return ordered.masked_fill_((before >= limits) & (rank > 0), float("-inf"))


def _pick(scaled: Tensor, tokens: Tensor, choices: Sequence[Choice]) -> list[int]:
    """The Gumbel maximum of each row after min_p. scaled: [R, K], logits less the peak; tokens: [R, K]."""
    if any(choice.sampling.min_p > 0 for choice in choices):
        least = _column([choice.sampling.min_p for choice in choices], scaled).log()
        scaled = scaled.masked_fill(scaled < least, float("-inf"))
    noisy = scaled + gumbel([(choice.seed, choice.position) for choice in choices], tokens)
    winners: list[list[int]] = tokens.gather(1, noisy.argmax(-1, keepdim=True)).tolist()
    return [token for (token,) in winners]


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None]


def gumbel(keys: Sequence[tuple[int, int]], tokens: Tensor) -> Tensor:
    """Gumbel noise of (seed, position, token), always the same. keys: R pairs, tokens: int32 [R, K]."""
    mixed = [_mix64(seed_key(seed) ^ (position & _MASK_64)) for seed, position in keys]
    halves = [[_signed(key & _MASK_32), _signed(key >> 32)] for key in mixed]
    return noise(torch.tensor(halves, dtype=torch.int32, device=tokens.device), tokens)


def seed_key(seed: int) -> int:
    """A seed's part of a row's key, 64 bits without a sign."""
    return _mix64(seed & _MASK_64)


def noise(words: Tensor, tokens: Tensor) -> Tensor:
    """Gumbel noise. words: int32 [R, 2], the halves of each row's key, the low one first; tokens: int32 [R, K]."""
    bits = _mix32(tokens ^ words[:, :1]).add_(words[:, 1:])
    bits = _mix32(bits).bitwise_and_(0x7FFFFFFF)
    uniform = bits.to(torch.float32).add_(0.5).mul_(2.0**-31).clamp_(max=_LARGEST_BELOW_1)
    # -log(-log(1 - u)): the winners have small u, where float32 is finest.
    return uniform.neg_().log1p_().neg_().log_().neg_()


def _mix32(bits: Tensor) -> Tensor:
    """MurmurHash3's 32-bit finaliser; int32 shifts carry the sign, so the copied bits are masked away."""
    bits = bits ^ ((bits >> 16) & 0xFFFF)
    bits = bits.mul_(_signed(0x85EBCA6B))
    bits = bits ^ ((bits >> 13) & 0x7FFFF)
    bits = bits.mul_(_signed(0xC2B2AE35))
    return bits ^ ((bits >> 16) & 0xFFFF)


def _mix64(bits: int) -> int:
    """SplitMix64's step, so that neighbouring seeds and positions share nothing."""
    bits = (bits + 0x9E3779B97F4A7C15) & _MASK_64
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK_64
    return bits ^ (bits >> 31)


def _signed(word: int) -> int:
    """The int32 of the same 32 bits."""
    return word - (1 << 32) if word >= 1 << 31 else word
