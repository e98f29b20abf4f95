"""Keys and values in pages, and attention over them, in plain torch.

A step's rows are laid out decode rows first, shortest context first, then those with guesses, then prefill. Decode rows
of similar length attend together with the query groups folded into rows ([Hkv, B, G, D], keys never repeated); each
other row attends by itself. Our own kernel takes each token of a row with guesses as a decode row.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from engine.kernels import Kernels, Tables
from engine.prompts import PromptTables
from engine.rope import Turns, rotate

SCRATCH_BYTES: Final = 64 << 20  # decode rows gathered at once; more rows go in several products
_SPREAD: Final = 2  # the longest context of a group over the shortest: what padding may cost


@dataclass(frozen=True, slots=True)
class LayerShape:
    """What one layer keeps of a token: keys and values of `kv_heads` heads."""

    kv_heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class Span:
    """One row's share of a step: tokens `first … first + count - 1` of the batch, at positions `start` and on."""

    first: int
    count: int
    start: int
    pages: Sequence[int]
    guesses: int = 0  # so many of the tokens, the last ones

    @property
    def decodes(self) -> bool:
        return self.count == 1 + self.guesses


class PagedCache:
    """All layers' pages; pools: a tensor [2 Hkv, pages + 1, page_tokens, D] a layer, keys before values.

    Heads come first so that a head's gathered tokens lie one after the other: with 8 rows of 1,000 tokens
    a step takes 61 ms, against 188 with the heads of a token side by side (bfloat16, one thread).
    The last page stays zero: groups are padded with it, since a weight of zero times a NaN is a NaN. The others
    are not touched before their first use: zeroing 1 GiB takes half a second of every start.
    """

    def __init__(
        self,
        layers: Sequence[LayerShape],
        pages: int,
        page_tokens: int,
        dtype: torch.dtype,
        device: torch.device,
        kernels: Kernels | None = None,
    ) -> None:
        self.kernels = kernels
        self.pages, self.page_tokens = pages, page_tokens
        self.pools = [
            torch.empty(
                2 * shape.kv_heads, pages + 1, page_tokens, shape.head_dim, dtype=dtype, device=device
            )
            for shape in layers
        ]
        for pool in self.pools:
            pool[:, pages] = 0
        self.flat = [pool.flatten(1, 2) for pool in self.pools]  # the same: [2 Hkv, tokens, D]
        self.addresses = (ctypes.c_void_p * len(layers))(*[pool.data_ptr() for pool in self.pools])
        self._scratch = torch.empty(0, dtype=dtype, device=device)

    def scratch(self, heads: int, pages: int, page_elements: int) -> Tensor:
        """Room for gathered pages, [heads, pages, page_elements], kept: fresh memory is slow to touch."""
        needed = heads * pages * page_elements
        if self._scratch.numel() < needed:
            self._scratch = self._scratch.new_empty(needed + needed // 4)
        return self._scratch[:needed].view(heads, pages, page_elements)

    def close(self) -> None:
        """Give the memory back."""
        self.pools.clear()
        self.flat.clear()

    def copy(self, source: int, target: int) -> None:
        for pool in self.pools:
            pool[:, target].copy_(pool[:, source])

    def clear(self, pages: Tensor) -> None:
        """Zero pages that a sequence enters: an earlier owner's NaN would pass the mask. pages: [N]."""
        for pool in self.pools:
            pool.index_fill_(1, pages, 0)


class StepAttention:
    """Attention for the rows of one step. Layers call `attend` in turn."""

    def __init__(self, cache: PagedCache, spans: Sequence[Span], slots: Tensor) -> None:
        """`spans`: those of one token first, by `start`, then those with guesses. slots: [T], where keys go."""
        self.cache, self._spans, self._slots = cache, spans, slots
        self._alone = next((i for i, span in enumerate(spans) if span.count > 1), len(spans))
        count = next((i for i, span in enumerate(spans) if not span.decodes), len(spans))
        self.decoding = count if count == len(spans) else 0
        """How many replies the step goes on with, if it has no prompts in it; 0 if it has."""
        decodes, prompts = spans[:count], spans[count:]
        self._decoded = sum(span.count for span in decodes)  # tokens
        self._tables = tables_of(decodes) if cache.kernels and decodes else None
        self.tables = None if prompts else self._tables
        """Where the rows keep their tokens, if all of them decode and our kernels attend."""
        self._prompts = prompt_tables_of(prompts) if cache.kernels and prompts else None
        self._plans: dict[int | None, list[_Group]] = {}

    def attend(
        self,
        layer: int,
        qkv: Tensor,
        kv_heads: int,
        turns: Turns | None,
        scale: float,
        window: int | None = None,
        softcap: float | None = None,
    ) -> Tensor:
        """Turn queries and keys if `turns` say so, store the tokens' keys and values, then attend.

        qkv: [T, H + 2 Hkv, D], contiguous; may be changed -> [T, H, D].
        """
        heads = qkv.shape[1] - 2 * kv_heads
        kernels, done = self.cache.kernels, self._decoded
        if (
            kernels is None
            or softcap is not None
            or not kernels.attends(heads, kv_heads, qkv.shape[2], qkv.dtype)
        ):
            if turns is not None:
                rotate(qkv[:, : heads + kv_heads], turns)
            outputs = self._attend_in_torch(layer, qkv, heads, scale, window, softcap)
        else:
            pool, outputs = self.cache.pools[layer], []
            exact = None if turns is None else turns.exact
            if self._tables:
                outputs.append(kernels.attend(qkv[:done], exact, pool, self._tables, scale, window))
            if self._prompts:
                exact = None if exact is None else exact[done:]
                outputs.append(kernels.prompts.attend(qkv[done:], exact, pool, self._prompts, scale, window))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _attend_in_torch(
        self, layer: int, qkv: Tensor, heads: int, scale: float, window: int | None, softcap: float | None
    ) -> list[Tensor]:
        """The outputs of each group; queries and keys are turned."""
        query, kv = qkv[:, :heads], qkv[:, heads:]
        self.cache.flat[layer].index_copy_(1, self._slots, kv.transpose(0, 1))
        if window not in self._plans:
            self._plans[window] = self._plan(window, kv)
        pool = self.cache.pools[layer]
        return [group.attend(query, pool, scale, softcap) for group in self._plans[window]]

    def _plan(self, window: int | None, kv: Tensor) -> list[_Group]:
        views = [_View.of(span, window, self.cache.page_tokens) for span in self._spans]
        page_bytes = self.cache.page_tokens * kv[0].nbytes
        groups = [
            _DecodeGroup(views[first:end], self.cache, kv)
            for first, end in _batches(views[: self._alone], SCRATCH_BYTES // page_bytes)
        ]
        return [*groups, *(_PrefillRow(view, window, self.cache, kv) for view in views[self._alone :])]


def tables_of(spans: Sequence[Span]) -> Tables:
    """For rows that decode, as the kernel reads them: each token is a row."""
    begins = accumulate((len(span.pages) for span in spans), initial=0)
    starts = [begin for span, begin in zip(spans, begins, strict=False) for _ in range(span.count)]
    positions = [position for span in spans for position in range(span.start, span.start + span.count)]
    return Tables(
        torch.tensor(list(chain.from_iterable(span.pages for span in spans)), dtype=torch.int32),
        torch.tensor(starts),
        torch.tensor(positions),
        max(positions) + 1,
    )


def prompt_tables_of(spans: Sequence[Span]) -> PromptTables:
    """For rows of several tokens, as the kernel reads them."""
    starts = accumulate((len(span.pages) for span in spans), initial=0)
    firsts = accumulate((span.count for span in spans), initial=0)
    return PromptTables(
        torch.tensor(list(chain.from_iterable(span.pages for span in spans)), dtype=torch.int32),
        torch.tensor(list(starts)),
        torch.tensor(list(firsts)),
        torch.tensor([span.start for span in spans]),
    )


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


_Group = _DecodeGroup | _PrefillRow


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
