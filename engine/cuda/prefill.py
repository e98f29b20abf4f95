"""Attention of chunks of several rows at once: queries of one row in tiles, with the heads that share keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.cuda.pieces import scores_of, take_in
from engine.paged_cache import Pool

_MOST_ROWS: Final = 128  # queries times heads of a tile


# Compiled once, whatever these are: a variant for a new width would hold up a running server for seconds.
@triton.jit(do_not_specialize=["table_stride", "window"])
def _attend(
    query,
    pool,
    scales,
    tables,
    tiles,
    out,
    scale,
    softcap,
    window,
    table_stride,
    head_stride,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    D: tl.constexpr,
    DIM: tl.constexpr,
    PAGE: tl.constexpr,
    BLOCK: tl.constexpr,
    WINDOW: tl.constexpr,
    SOFTCAP: tl.constexpr,
    SCALED: tl.constexpr,
):
    tile, kv_head = tiles + tl.program_id(0) * 4, tl.program_id(1)
    kv_heads = tl.num_programs(1)
    first, count = tl.load(tile), tl.load(tile + 1)
    position, row = tl.load(tile + 2), tl.load(tile + 3)
    m, d, n = tl.arange(0, ROWS), tl.arange(0, DIM), tl.arange(0, BLOCK)
    head = ((first + m // GROUP).to(tl.int64) * kv_heads + kv_head) * GROUP + m % GROUP
    inside = (m // GROUP < count)[:, None] & (d < D)[None, :]
    queries = tl.load(query + head[:, None] * D + d[None, :], mask=inside, other=0.0)
    stands = position + m // GROUP
    low = 0
    if WINDOW:
        low = tl.maximum(position - window + 1, 0)
    end = position + count
    keys_at = pool + kv_head.to(tl.int64) * head_stride
    values_at = pool + (kv_heads + kv_head).to(tl.int64) * head_stride
    key_scales = scales + kv_head.to(tl.int64) * (head_stride // D)
    value_scales = scales + (kv_heads + kv_head).to(tl.int64) * (head_stride // D)
    peak = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    mixed = tl.zeros([ROWS, DIM], tl.float32)
    for start in range(low, end, BLOCK):
        token = start + n
        there = token < end
        page = tl.load(tables + row.to(tl.int64) * table_stride + token // PAGE, mask=there, other=0)
        slot = page.to(tl.int64) * PAGE + token % PAGE
        place = slot * D
        keys = tl.load(
            keys_at + place[None, :] + d[:, None], mask=there[None, :] & (d < D)[:, None], other=0.0
        )
        if SCALED:
            scaled = scale * tl.load(key_scales + slot, mask=there, other=0.0)
            scores = scores_of(queries, keys.to(queries.dtype), scaled[None, :], softcap, SOFTCAP)
        else:
            scores = scores_of(queries, keys, scale, softcap, SOFTCAP)
        seen = there[None, :] & (token[None, :] <= stands[:, None])
        if WINDOW:
            seen = seen & (token[None, :] > stands[:, None] - window)
        scores = tl.where(seen, scores, float("-inf"))
        values = tl.load(
            values_at + place[:, None] + d[None, :], mask=there[:, None] & (d < D)[None, :], other=0.0
        )
        if SCALED:
            factors = tl.load(value_scales + slot, mask=there, other=0.0)
            exact = values.to(queries.dtype)
            peak, total, mixed = take_in(scores, exact, factors, peak, total, mixed, SCALED)
        else:
            peak, total, mixed = take_in(scores, values, peak, peak, total, mixed, SCALED)
    mixed = mixed / tl.where(total == 0.0, 1.0, total)[:, None]
    tl.store(out + head[:, None] * D + d[None, :], mixed.to(out.dtype.element_ty), mask=inside)


def attend_prefill(
    query: Tensor,
    pool: Pool,
    tables: Tensor,
    tiles: Tensor,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """query: [T, H, D], contiguous; tables: int32 [R, P]; tiles: int32 [N, 4], as
    `tiles_of` made them for these heads -> [T, H, D]."""
    heads, dim = query.shape[1:]
    both, _, page_tokens, _ = pool.values.shape
    group, padded = 2 * heads // both, max(16, triton.next_power_of_2(dim))
    out = torch.empty_like(query)
    _attend[(len(tiles), both // 2)](
        query,
        pool.values,
        pool.values if pool.scales is None else pool.scales,
        tables,
        tiles,
        out,
        scale,
        1.0 if softcap is None else softcap,
        window or 0,
        tables.stride(0),
        pool.values.stride(0),
        GROUP=group,
        ROWS=_rows(group),
        D=dim,
        DIM=padded,
        PAGE=page_tokens,
        BLOCK=64 if padded <= 128 else 32,
        WINDOW=window is not None,
        SOFTCAP=softcap is not None,
        SCALED=pool.scales is not None,
        num_warps=8,
        num_stages=2,
    )
    return out


def tiles_of(spans: Iterable[tuple[int, int, int]], group: int) -> list[tuple[int, int, int, int]]:
    """Cut spans (first token of the batch, tokens, position of the first) into tiles for heads in groups of so many.

    A tile: its first token of the batch, how many, the first one's position, the span it is of.
    """
    most = _rows(group) // group
    return [
        (first + done, min(most, count - done), start + done, row)
        for row, (first, count, start) in enumerate(spans)
        for done in range(0, count, most)
    ]


def _rows(group: int) -> int:
    return max(_MOST_ROWS, int(triton.next_power_of_2(group)))
