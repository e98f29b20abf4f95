"""Attention for the two kinds of work a GPU runner has: a decode step of the whole batch, and chunks of prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from engine.attending import Attending
from engine.batch import Row
from engine.cuda.device import Device
from engine.cuda.state import table_of
from engine.models import LanguageModel
from engine.norm import HeadNorms
from engine.paged_cache import Pool
from engine.rope import Turns

Forward: TypeAlias = Callable[[Tensor, Tensor, Attending], Tensor]
"""tokens, positions: [B], one of each row -> float32 [B, V], the logits of all."""


class Kernels(Protocol):
    """What computes it; shapes as in `store`, `decoding` and `prefill`."""

    def store(
        self, qkv: Tensor, norms: HeadNorms | None, turns: Tensor | None, slots: Tensor, pool: Pool
    ) -> Tensor: ...

    def decoding(
        self,
        query: Tensor,
        pool: Pool,
        tables: Tensor,
        lengths: Tensor,
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> Tensor: ...

    def prefill(
        self,
        query: Tensor,
        pool: Pool,
        tables: Tensor,
        tiles: Tensor,
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> Tensor: ...

    def tiles(self, spans: Sequence[tuple[int, int, int]], group: int) -> list[tuple[int, int, int, int]]: ...

    def ways(self, model: LanguageModel, rows: int) -> Sequence[Way]:
        """How a decode step of so many rows can be computed besides by `model.forward`."""
        ...


@dataclass(frozen=True, slots=True)
class Way:
    """How the decode steps of one size are computed."""

    name: str
    forward: Forward
    kernels: Kernels


class DecodeAttention:
    """One token of each row; reads nothing but tensors that a graph may have."""

    def __init__(
        self, kernels: Kernels, pools: Sequence[Pool], tables: Tensor, lengths: Tensor, places: Tensor
    ) -> None:
        self._kernels, self._pools = kernels, pools
        self._tables, self._lengths, self._places = tables, lengths, places
        self.decoding = len(tables)

    def attend(
        self,
        layer: int,
        qkv: Tensor,
        kv_heads: int,
        turns: Turns | None,
        scale: float,
        window: int | None = None,
        softcap: float | None = None,
        norms: HeadNorms | None = None,
    ) -> Tensor:
        """qkv: [B, H + 2 Hkv, D], contiguous -> [B, H, D]."""
        pool = self._pools[layer]
        query = self._kernels.store(qkv, norms, None if turns is None else turns.exact, self._places, pool)
        return self._kernels.decoding(query, pool, self._tables, self._lengths, scale, window, softcap)


class ChunkAttention:
    """Chunks of several rows."""

    decoding = 0

    def __init__(
        self, kernels: Kernels, pools: Sequence[Pool], rows: Sequence[Row], places: Tensor, device: Device
    ) -> None:
        self._kernels, self._pools, self._places, self._device = kernels, pools, places, device
        self._tables = device.send(table_of(rows))
        self._tiles: dict[int, Tensor] = {}  # by the number of heads that share keys
        self._spans: list[tuple[int, int, int]] = []
        first = 0
        for row in rows:
            self._spans.append((first, len(row.tokens), row.start))
            first += len(row.tokens)

    def attend(
        self,
        layer: int,
        qkv: Tensor,
        kv_heads: int,
        turns: Turns | None,
        scale: float,
        window: int | None = None,
        softcap: float | None = None,
        norms: HeadNorms | None = None,
    ) -> Tensor:
        """qkv: [T, H + 2 Hkv, D], contiguous -> [T, H, D]."""
        pool = self._pools[layer]
        query = self._kernels.store(qkv, norms, None if turns is None else turns.exact, self._places, pool)
        tiles = self._tiles_for(query.shape[1] // kv_heads)
        return self._kernels.prefill(query, pool, self._tables, tiles, scale, window, softcap)

    def _tiles_for(self, group: int) -> Tensor:
        if group not in self._tiles:
            tiles = self._kernels.tiles(self._spans, group)
            self._tiles[group] = self._device.send(torch.tensor(tiles, dtype=torch.int32))
        return self._tiles[group]
