"""`attention.Kernels` in plain torch, row by row: what the Triton kernels are when a test is not about them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.cuda.attention import Way
from engine.cuda.codes import scaled_to
from engine.models import LanguageModel
from engine.norm import HeadNorms
from engine.paged_cache import FP8, Pool


class TorchKernels:
    def store(
        self, qkv: Tensor, norms: HeadNorms | None, turns: Tensor | None, slots: Tensor, pool: Pool
    ) -> Tensor:
        if norms is not None:
            norms.apply(qkv)
        both = len(pool.values)
        heads = qkv.shape[1] - both
        turning = heads + both // 2
        if turns is not None:
            cos, sin = turns[:, :1].to(qkv.dtype), turns[:, 1:].to(qkv.dtype)
            part = qkv[:, :turning]
            part.copy_(part * cos + part.roll(part.shape[-1] // 2, -1) * sin)
        kept = slots >= 0
        kv = qkv[kept, heads:].transpose(0, 1)
        if pool.scales is not None:
            kv, scales = scaled_to(kv, FP8)
            pool.scales.flatten(1, 2)[:, slots[kept]] = scales
        pool.values.flatten(1, 2)[:, slots[kept]] = kv
        return qkv[:, :heads].contiguous()

    def decoding(
        self,
        query: Tensor,
        pool: Pool,
        tables: Tensor,
        lengths: Tensor,
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        out = torch.zeros_like(query)
        for row, length in enumerate(lengths.tolist()):
            if length:
                out[row] = _attend(query[row : row + 1], pool, tables[row], length, scale, window, softcap)
        return out

    def prefill(
        self,
        query: Tensor,
        pool: Pool,
        tables: Tensor,
        tiles: Tensor,
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        out = torch.full_like(query, float("nan"))
        for first, count, start, row in tiles.tolist():
            queries = query[first : first + count]
            out[first : first + count] = _attend(
                queries, pool, tables[row], start + count, scale, window, softcap
            )
        return out

    def tiles(self, spans: Sequence[tuple[int, int, int]], group: int) -> list[tuple[int, int, int, int]]:
        return [(first, count, start, row) for row, (first, count, start) in enumerate(spans)]

    def ways(self, model: LanguageModel, rows: int) -> Sequence[Way]:
        return []


def _attend(
    queries: Tensor,
    pool: Pool,
    table: Tensor,
    length: int,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """The last tokens of a context of `length`. queries: [T, H, D] -> [T, H, D]."""
    count, heads, dim = queries.shape
    pages = table[: -(-length // pool.values.shape[2])].long()
    both = pool.values[:, pages].to(queries.dtype)
    if pool.scales is not None:
        both = both * pool.scales[:, pages, :, None].to(queries.dtype)
    keys, values = both.flatten(1, 2)[:, :length].chunk(2)
    grouped = queries.view(count, len(keys), heads // len(keys), dim)
    scores = torch.einsum("thgd,hnd->thgn", grouped, keys) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    stands = torch.arange(length - count, length)[:, None]
    token = torch.arange(length)
    hidden = token > stands
    if window is not None:
        hidden |= token <= stands - window
    shares = scores.masked_fill(hidden[:, None, None], float("-inf")).softmax(-1)
    return torch.einsum("thgn,hnd->thgd", shares, values).reshape(queries.shape)
