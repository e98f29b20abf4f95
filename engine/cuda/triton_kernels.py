"""`attention.Kernels` in Triton."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from engine.cuda.attention import Way
from engine.cuda.decoding import attend_decoding, splits_for
from engine.cuda.few import MOST, STAGED, Few, cut_for
from engine.cuda.fused import FusedStep, fuses
from engine.cuda.prefill import attend_prefill, tiles_of
from engine.cuda.store import store
from engine.decoder import Decoder
from engine.models import LanguageModel
from engine.norm import HeadNorms
from engine.paged_cache import Pool


class TritonKernels:
    """For a device of so many processors, and contexts of so many tokens at the most.

    `overlaps`: the device can begin a kernel before the last one has ended; `dependent`: those of a decode step do.
    """

    def __init__(
        self, processors: int, context_tokens: int, overlaps: bool = False, dependent: bool = False
    ) -> None:
        self._processors, self._context_tokens = processors, context_tokens
        self._overlaps, self._dependent = overlaps, dependent

    def store(
        self, qkv: Tensor, norms: HeadNorms | None, turns: Tensor | None, slots: Tensor, pool: Pool
    ) -> Tensor:
        return store(qkv, norms, turns, slots, pool, self._dependent)

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
        return attend_decoding(query, pool, tables, lengths, scale, window, softcap, splits, self._dependent)

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

    def ways(self, model: LanguageModel, rows: int) -> list[Way]:
        if rows > MOST or not isinstance(model, Decoder) or not fuses(model):
            return []
        usual = cut_for(rows)
        found = [Way("fused", FusedStep(model, Few(usual)), self)]
        if self._overlaps:
            early = TritonKernels(self._processors, self._context_tokens, dependent=True)
            found.append(Way("dependent", FusedStep(model, Few(usual, dependent=True)), early))
            if rows == 1:
                found.append(Way("dependent, staged", FusedStep(model, Few(STAGED, dependent=True)), early))
        return found
