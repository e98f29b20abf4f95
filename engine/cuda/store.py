"""Queries and keys normed and turned to their positions, keys and values stored in their pages: one kernel."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.cuda.codes import LARGEST
from engine.cuda.dependent import await_earlier, launched_early
from engine.cuda.pieces import to_e4m3
from engine.norm import HeadNorms
from engine.paged_cache import FP8, Pool


@triton.jit
def _store(
    qkv,
    norms,
    turns,
    slots,
    query,
    pool,
    scales,
    heads,
    kv_heads,
    head_stride,
    most,
    eps,
    SCALED: tl.constexpr,
    NORMS: tl.constexpr,
    TURNS: tl.constexpr,
    D: tl.constexpr,
    DIM: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    await_earlier(DEPENDENT)
    token, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    d = tl.arange(0, DIM)
    inside = d < D
    source = qkv + (token * (heads + 2 * kv_heads) + head) * D
    x = tl.load(source + d, mask=inside, other=0.0)
    if head < heads + kv_heads:
        exact = x.to(tl.float32)
        opposite = (d + D // 2) % D
        across = tl.load(source + opposite, mask=inside, other=0.0).to(tl.float32)
        if NORMS:
            factor = 1.0 / tl.sqrt(tl.sum(exact * exact, 0) / D + eps)
            exact = exact * factor * tl.load(norms + head * D + d, mask=inside, other=0.0)
            across = across * factor * tl.load(norms + head * D + opposite, mask=inside, other=0.0)
        if TURNS:
            cos = tl.load(turns + token * 2 * D + d, mask=inside, other=0.0)
            sin = tl.load(turns + token * 2 * D + D + d, mask=inside, other=0.0)
            exact = exact * cos + across * sin
        x = exact.to(x.dtype)
    if head < heads:
        tl.store(query + (token * heads + head) * D + d, x, mask=inside)
    else:
        slot = tl.load(slots + token)
        place = pool + (head - heads).to(tl.int64) * head_stride + slot * D
        if SCALED:
            stored = x.to(tl.float32)
            scale = tl.max(tl.abs(stored), 0) / most
            codes = to_e4m3(stored / tl.where(scale == 0.0, 1.0, scale), pool)
            tl.store(place + d, codes, mask=inside & (slot >= 0))
            at = (head - heads).to(tl.int64) * (head_stride // D) + slot
            tl.store(scales + at, scale, mask=slot >= 0)
        else:
            tl.store(place + d, x, mask=inside & (slot >= 0))


def store(
    qkv: Tensor,
    norms: HeadNorms | None,
    turns: Tensor | None,
    slots: Tensor,
    pool: Pool,
    dependent: bool = False,
) -> Tensor:
    """The normed and turned queries, [T, H, D]; keys and values go to the pool.

    qkv: [T, H + 2 Hkv, D], contiguous; turns: float32 [T, 2, D], cos and signed sin, or None if queries and keys are
    turned already; slots: int64 [T], where each token goes, -1: nowhere.
    """
    tokens, both, dim = qkv.shape
    kv_heads = len(pool.values) // 2
    heads = both - 2 * kv_heads
    query = torch.empty(tokens, heads, dim, dtype=qkv.dtype, device=qkv.device)
    _store[(tokens, both)](
        qkv,
        qkv if norms is None else norms.weight,
        qkv if turns is None else turns,
        slots,
        query,
        pool.values,
        pool.values if pool.scales is None else pool.scales,
        heads,
        kv_heads,
        pool.values.stride(0),
        LARGEST[FP8],
        0.0 if norms is None else norms.eps,
        SCALED=pool.scales is not None,
        NORMS=norms is not None,
        TURNS=turns is not None,
        D=dim,
        DIM=triton.next_power_of_2(dim),
        DEPENDENT=dependent,
        num_warps=1,
        **launched_early(dependent),
    )
    return query
