"""`attention.Kernels` in Triton."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from engine.cuda.decoding import attend_decoding, splits_for
from engine.cuda.prefill import attend_prefill, tiles_of
from engine.cuda.store import store
from engine.norm import HeadNorms
from engine.paged_cache import Pool


class TritonKernels:
    """For a device of so many processors, and contexts of so many tokens at the most."""

    def __init__(self, processors: int, context_tokens: int) -> None:
        self._processors, self._context_tokens = processors, context_tokens

    def store(
        self, qkv: Tensor, norms: HeadNorms | None, turns: Tensor | None, slots: Tensor, pool: Pool
    ) -> Tensor:
        return store(qkv, norms, turns, slots, pool)

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
        seen = min(self._context_tokens, window or self._context_tokens)
        splits = splits_for(len(query), len(pool.values) // 2, seen, self._processors)
        return attend_decoding(query, pool, tables, lengths, scale, window, softcap, splits)

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
        return attend_prefill(query, pool, tables, tiles, scale, window, softcap)

    def tiles(self, spans: Sequence[tuple[int, int, int]], group: int) -> list[tuple[int, int, int, int]]:
        return tiles_of(spans, group)
