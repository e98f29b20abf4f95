"""Attention of rows of one token over their pages. Each context is split between programs, then put together."""

from __future__ import annotations

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.cuda.dependent import await_earlier, launched_early
from engine.cuda.pieces import scores_of, take_in
from engine.paged_cache import Pool

_MOST_SPLITS: Final = 64
_LEAST_SPLIT: Final = 128  # tokens: shorter parts cost more to put together than they save
_FULL: Final = 4  # programs for each processor at which more splits gain nothing


# Compiled once, whatever these are: a variant for a new width would hold up a running server for seconds.
@triton.jit(do_not_specialize=["table_stride", "window"])
def _attend(
    query,
    pool,
    scales,
    tables,
    lengths,
    out,
    masses,
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
    SPLITS: tl.constexpr,
    WINDOW: tl.constexpr,
    SOFTCAP: tl.constexpr,
    SCALED: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    await_earlier(DEPENDENT)
    row, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    kv_heads = tl.num_programs(1)
    length = tl.load(lengths + row).to(tl.int32)
    low = 0
    if WINDOW:
        low = tl.maximum(length - window, 0)
    each = tl.cdiv(tl.cdiv(length - low, SPLITS), BLOCK) * BLOCK
    first = low + split * each
    end = tl.minimum(first + each, length)

    m, d, n = tl.arange(0, ROWS), tl.arange(0, DIM), tl.arange(0, BLOCK)
    head = (row * kv_heads + kv_head).to(tl.int64) * GROUP + m
    inside = (m < GROUP)[:, None] & (d < D)[None, :]
    queries = tl.load(query + head[:, None] * D + d[None, :], mask=inside, other=0.0)
    keys_at = pool + kv_head.to(tl.int64) * head_stride
    values_at = pool + (kv_heads + kv_head).to(tl.int64) * head_stride
    key_scales = scales + kv_head.to(tl.int64) * (head_stride // D)
    value_scales = scales + (kv_heads + kv_head).to(tl.int64) * (head_stride // D)
    peak = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    mixed = tl.zeros([ROWS, DIM], tl.float32)
    for start in range(first, end, BLOCK):
        token = start + n
        seen = token < end
        page = tl.load(tables + row.to(tl.int64) * table_stride + token // PAGE, mask=seen, other=0)
        slot = page.to(tl.int64) * PAGE + token % PAGE
        place = slot * D
        keys = tl.load(
            keys_at + place[None, :] + d[:, None], mask=seen[None, :] & (d < D)[:, None], other=0.0
        )
        if SCALED:
            scaled = scale * tl.load(key_scales + slot, mask=seen, other=0.0)
            scores = scores_of(queries, keys.to(queries.dtype), scaled[None, :], softcap, SOFTCAP)
        else:
            scores = scores_of(queries, keys, scale, softcap, SOFTCAP)
        scores = tl.where(seen[None, :], scores, float("-inf"))
        values = tl.load(
            values_at + place[:, None] + d[None, :], mask=seen[:, None] & (d < D)[None, :], other=0.0
        )
        if SCALED:
            factors = tl.load(value_scales + slot, mask=seen, other=0.0)
            exact = values.to(queries.dtype)
            peak, total, mixed = take_in(scores, exact, factors, peak, total, mixed, SCALED)
        else:
            peak, total, mixed = take_in(scores, values, peak, peak, total, mixed, SCALED)

    divisor = tl.where(total == 0.0, 1.0, total)
    mixed = mixed / divisor[:, None]
    part = head * SPLITS + split
    tl.store(out + part[:, None] * D + d[None, :], mixed.to(out.dtype.element_ty), mask=inside)
    if SPLITS > 1:
        mass = tl.where(total == 0.0, float("-inf"), peak + tl.log2(divisor))
        tl.store(masses + part, mass, mask=m < GROUP)


@triton.jit
def _join(
    parts,
    masses,
    out,
    SPLITS: tl.constexpr,
    PARTS: tl.constexpr,
    D: tl.constexpr,
    DIM: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    await_earlier(DEPENDENT)
    head = tl.program_id(0).to(tl.int64)
    s, d = tl.arange(0, PARTS), tl.arange(0, DIM)
    mass = tl.load(masses + head * SPLITS + s, mask=s < SPLITS, other=float("-inf"))
    peak = tl.max(mass, 0)
    weights = tl.exp2(mass - tl.where(peak == float("-inf"), 0.0, peak))
    inside = (s < SPLITS)[:, None] & (d < D)[None, :]
    part = tl.load(parts + (head * SPLITS + s)[:, None] * D + d[None, :], mask=inside, other=0.0)
    total = tl.sum(weights, 0)
    mixed = tl.sum(part * weights[:, None], 0) / tl.where(total == 0.0, 1.0, total)
    tl.store(out + head * D + d, mixed.to(out.dtype.element_ty), mask=d < D)


def attend_decoding(
    query: Tensor,
    pool: Pool,
    tables: Tensor,
    lengths: Tensor,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    splits: int = 1,
    dependent: bool = False,
) -> Tensor:
    """query: [B, H, D], contiguous; tables: int32 [B, P]; lengths: [B], tokens
    with the row's own, 0: no context -> [B, H, D], zeros where there is no context."""
    rows, heads, dim = query.shape
    both, _, page_tokens, _ = pool.values.shape
    kv_heads = both // 2
    group, padded = heads // kv_heads, max(16, triton.next_power_of_2(dim))
    out = torch.empty_like(query)
    parts, masses = out, lengths
    if splits > 1:
        parts = torch.empty(rows, heads, splits, dim, dtype=torch.float32, device=query.device)
        masses = torch.empty(rows, heads, splits, dtype=torch.float32, device=query.device)
    _attend[(rows, kv_heads, splits)](
        query,
        pool.values,
        pool.values if pool.scales is None else pool.scales,
        tables,
        lengths,
        parts,
        masses,
        scale,
        1.0 if softcap is None else softcap,
        window or 0,
        tables.stride(0),
        pool.values.stride(0),
        GROUP=group,
        ROWS=max(16, triton.next_power_of_2(group)),
        D=dim,
        DIM=padded,
        PAGE=page_tokens,
        BLOCK=64 if padded <= 128 else 32,
        SPLITS=splits,
        WINDOW=window is not None,
        SOFTCAP=softcap is not None,
        SCALED=pool.scales is not None,
        DEPENDENT=dependent,
        num_warps=4,
        num_stages=3,
        **launched_early(dependent),
    )
    if splits > 1:
        _join[(rows * heads,)](
            parts,
            masses,
            out,
            SPLITS=splits,
            PARTS=triton.next_power_of_2(splits),
            D=dim,
            DIM=triton.next_power_of_2(dim),
            DEPENDENT=dependent,
            **launched_early(dependent),
        )
    return out


def splits_for(rows: int, kv_heads: int, context_tokens: int, processors: int) -> int:
    """How many parts of each context keep a device of so many processors busy."""
    wanted = -(-_FULL * processors // (rows * kv_heads))
    useful = -(-context_tokens // _LEAST_SPLIT)
    return max(1, min(wanted, useful, _MOST_SPLITS))
