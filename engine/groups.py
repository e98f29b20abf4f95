"""Rows that attend together over their pages, in plain torch.

Decode rows of similar length attend together with the query groups folded into rows ([Hkv, B, G, D], keys never
repeated); each other row attends by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from engine.paged_cache import PagedCache
from engine.span import Span

SCRATCH_BYTES: Final = 64 << 20  # decode rows gathered at once; more rows go in several products
_SPREAD: Final = 2  # the longest context of a group over the shortest: what padding may cost


@dataclass(frozen=True, slots=True)
class _View:
    """The pages a span can see, and the range of their tokens it does see."""

    span: Span
    pages: Sequence[int]
    low: int  # first token in the pages that any of the span's queries sees
    high: int  # end of the tokens in the pages

    @classmethod
    def of(cls, span: Span, window: int | None, page_tokens: int) -> _View:
        end = span.start + span.count
        first = max(0, span.start + 1 - window) if window else 0
        page = first // page_tokens
        pages = span.pages[page : -(-end // page_tokens)]
        return cls(span, pages, first - page * page_tokens, end - page * page_tokens)


class _DecodeGroup:
    """Rows of one token each, attending in one product."""

    def __init__(self, views: Sequence[_View], cache: PagedCache, kv: Tensor) -> None:
        self._rows = slice(views[0].span.first, views[-1].span.first + 1)
        self._run = _run_of(views[0], cache.page_tokens) if len(views) == 1 else None
        self._mask: Tensor | None = None
        if self._run is not None:
            return
        width = max(len(view.pages) for view in views)
        padding = cache.pages
        padded = [[*view.pages, *[padding] * (width - len(view.pages))] for view in views]
        self._pages = torch.tensor(padded, device=kv.device)
        ranges = torch.tensor([[view.low, view.high] for view in views], device=kv.device)
        tokens = torch.arange(width * cache.page_tokens, device=kv.device)
        seen = (tokens >= ranges[:, :1]) & (tokens < ranges[:, 1:])
        mask = torch.zeros(seen.shape, dtype=kv.dtype, device=kv.device).masked_fill_(~seen, float("-inf"))
        self._mask = mask[:, None]
        self._cache = cache

    def attend(self, query: Tensor, pool: Tensor, scale: float, softcap: float | None) -> Tensor:
        query = query[self._rows]  # [B, H, D]
        folded = query.view(len(query), len(pool) // 2, -1, query.shape[2]).transpose(0, 1)  # [Hkv, B, G, D]
        keys, values = self._context(pool).chunk(2)
        if self._mask is None and softcap is None:  # one row: 23 µs against 63, at 100 tokens
            out = scaled_dot_product_attention(folded, keys, values, scale=scale)
        else:
            out = _product_attention(folded, keys, values, self._mask, scale, softcap)
        return out.transpose(0, 1).reshape(query.shape)

    def _context(self, pool: Tensor) -> Tensor:
        """[2 Hkv, B, L, D]."""
        if self._run is not None:
            return pool.flatten(1, 2)[:, self._run].unsqueeze(1)
        scratch = self._cache.scratch(len(pool), self._pages.numel(), pool[0, 0].numel())
        torch.index_select(pool.flatten(2), 1, self._pages.view(-1), out=scratch)
        return scratch.view(len(pool), len(self._pages), -1, pool.shape[3])


class _PrefillRow:
    """One row of several tokens: a part of a prompt, or guesses."""

    def __init__(self, view: _View, window: int | None, cache: PagedCache, kv: Tensor) -> None:
        span = view.span
        self._rows = slice(span.first, span.first + span.count)
        self._run = _run_of(view, cache.page_tokens)
        self._pages = torch.tensor(view.pages, device=kv.device)
        self._seen = slice(view.low, view.high)
        self._mask: Tensor | None = None  # None: plainly causal
        if span.start > 0 or (window is not None and span.count > window):
            self._mask = _causal_mask(span.count, view.high - view.low, window, kv)

    def attend(self, query: Tensor, pool: Tensor, scale: float, softcap: float | None) -> Tensor:
        query = query[self._rows]  # [T, H, D]
        grouped = query.view(len(query), len(pool) // 2, -1, query.shape[2])  # [T, Hkv, G, D]
        folded = grouped.permute(1, 2, 0, 3)  # [Hkv, G, T, D]
        keys, values = self._context(pool).unsqueeze(1).expand(-1, folded.shape[1], -1, -1).chunk(2)
        if softcap is None:
            out = scaled_dot_product_attention(
                folded, keys, values, attn_mask=self._mask, is_causal=self._mask is None, scale=scale
            )
        else:
            mask = _causal_mask(len(query), len(query), None, query) if self._mask is None else self._mask
            out = _product_attention(folded, keys, values, mask, scale, softcap)
        return out.permute(2, 0, 1, 3).reshape(query.shape)

    def _context(self, pool: Tensor) -> Tensor:
        """[2 Hkv, L, D]."""
        if self._run is not None:
            return pool.flatten(1, 2)[:, self._run]
        return pool.index_select(1, self._pages).flatten(1, 2)[:, self._seen]


Group: TypeAlias = _DecodeGroup | _PrefillRow


def groups_of(spans: Sequence[Span], window: int | None, cache: PagedCache, kv: Tensor) -> list[Group]:
    """A step's rows: `spans` of one token first, by `start`. kv: [T, 2 Hkv, D]."""
    alone = next((i for i, span in enumerate(spans) if span.count > 1), len(spans))
    views = [_View.of(span, window, cache.page_tokens) for span in spans]
    page_bytes = cache.page_tokens * kv[0].nbytes
    groups = [
        _DecodeGroup(views[first:end], cache, kv)
        for first, end in _batches(views[:alone], SCRATCH_BYTES // page_bytes)
    ]
    return [*groups, *(_PrefillRow(view, window, cache, kv) for view in views[alone:])]


def _batches(views: Sequence[_View], most_pages: int) -> list[tuple[int, int]]:
    """Cut rows, ordered by length, into (first, end) runs of similar length that fit the scratch space."""
    cuts: list[tuple[int, int]] = []
    first = 0
    for end in range(1, len(views) + 1):
        if end < len(views):
            longest = len(views[end].pages)
            fits = longest * (end + 1 - first) <= most_pages
            if fits and longest <= _SPREAD * len(views[first].pages):
                continue
        cuts.append((first, end))
        first = end
    return cuts


def _run_of(view: _View, page_tokens: int) -> slice | None:
    """The pool's tokens that the view sees, if its pages lie one after the other: no copy is needed."""
    pages = view.pages
    if any(after - before != 1 for before, after in pairwise(pages)):
        return None
    base = pages[0] * page_tokens
    return slice(base + view.low, base + view.high)


def _product_attention(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float, softcap: float | None
) -> Tensor:
    """query: [X, Y, Q, D], keys and values: [X, Y, L, D], mask: added, broadcast to [X, Y, Q, L]."""
    scores = torch.matmul(query, keys.transpose(-1, -2)).mul_(scale)
    if softcap is not None:
        scores.div_(softcap).tanh_().mul_(softcap)
    if mask is not None:
        scores.add_(mask)
    return torch.matmul(scores.softmax(-1), values)


def _causal_mask(queries: int, tokens: int, window: int | None, like: Tensor) -> Tensor:
    """0 where a query sees a token, else minus infinity, [Q, L]; the last query stands at the last token."""
    query = torch.arange(tokens - queries, tokens, device=like.device)[:, None]
    token = torch.arange(tokens, device=like.device)
    hidden = token > query
    if window is not None:
        hidden |= token <= query - window
    return torch.zeros(queries, tokens, dtype=like.dtype, device=like.device).masked_fill_(
        hidden, float("-inf")
    )
