"""Whole pages between the device and pinned memory of the host, beside the steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import torch
from torch import Tensor

from engine.cuda.device import Device
from engine.moves import Moves, Pair, Underway

STAGING_BYTES: Final = (
    32 << 20
)  # each of two: what is gathered before it is sent, or spread after it has come
SLAB_BYTES: Final = (
    256 << 20
)  # torch rounds pinned memory up to a power of two, so it is taken in such pieces


class PageMover:
    """Implements `engine.moves.Mover` for pools of pages, by their bytes.

    A page is 4 KiB for each head and layer, all over the pools. It is put together on the device first, so that it
    crosses in one piece, and lies in the host's memory as one.
    """

    def __init__(self, pools: Sequence[Tensor], pages: int, device: Device) -> None:
        """pools: [2 Hkv, pages, page_tokens, …], contiguous. `pages`: room in the host's memory."""
        self._device = device
        word = torch.int64 if all(pool[0, 0].nbytes % 8 == 0 for pool in pools) else torch.uint8
        self._pools = [pool.flatten(2).view(word) for pool in pools]  # [2 Hkv, pages, words]
        words = sum(len(pool) * pool.shape[2] for pool in self._pools)
        self.pages, self.page_bytes = pages, words * word.itemsize
        rows = max(1, min(pages, STAGING_BYTES // self.page_bytes))
        self._between, self._beside = (
            torch.empty(rows, words, dtype=word, device=device.torch) for _ in range(2)
        )
        self._each = max(1, SLAB_BYTES // self.page_bytes)  # pages of a slab
        self._slabs = [
            device.pinned((min(self._each, pages - first), words), word)
            for first in range(0, pages, self._each)
        ]

    @torch.inference_mode()
    def send(self, moves: Moves) -> Underway:
        self._move_out(moves.at_once, self._between)
        return self._device.beside(lambda: self._move(moves))

    def close(self) -> None:
        """Give the memory back."""
        self._pools.clear()
        self._slabs.clear()
        self._between = self._beside = self._between.new_empty(0)

    def _move(self, moves: Moves) -> None:
        self._move_out(moves.out, self._beside)
        self._move_back(moves.back)
        for source, target in moves.copies:
            for pool in self._pools:
                pool[:, target].copy_(pool[:, source])

    def _move_out(self, pairs: Sequence[Pair], staging: Tensor) -> None:
        """pairs: (page, host page)."""
        for some in _in_parts(pairs, len(staging)):
            index = self._index([page for page, _ in some])
            for pool, part in self._parts(staging[: len(some)]):
                part.copy_(pool[:, index].transpose(0, 1))
            for first, kept in self._runs([host for _, host in some]):
                kept.copy_(staging[first : first + len(kept)], non_blocking=True)

    def _move_back(self, pairs: Sequence[Pair]) -> None:
        """pairs: (host page, page)."""
        staging = self._beside
        for some in _in_parts(pairs, len(staging)):
            for first, kept in self._runs([host for host, _ in some]):
                staging[first : first + len(kept)].copy_(kept, non_blocking=True)
            index = self._index([page for _, page in some])
            for pool, part in self._parts(staging[: len(some)]):
                pool.index_copy_(1, index, part.transpose(0, 1))

    def _parts(self, staging: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Each pool, and what of the staged pages is its. staging: [N, words] -> [2 Hkv, pages, W], [N, 2 Hkv, W]."""
        first = 0
        for pool in self._pools:
            heads, _, words = pool.shape
            part = staging[:, first : first + heads * words]
            yield pool, part.view(-1, heads, words)
            first += heads * words

    def _runs(self, hosts: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """Pages of the host that lie one behind the other, and the place of the first of them in `hosts`."""
        first = 0
        for place in range(1, len(hosts) + 1):
            if place == len(hosts) or hosts[place] != hosts[place - 1] + 1 or hosts[place] % self._each == 0:
                slab, at = divmod(hosts[first], self._each)
                yield first, self._slabs[slab][at : at + place - first]
                first = place

    def _index(self, pages: list[int]) -> Tensor:
        return self._device.send(torch.tensor(pages))


def _in_parts(pairs: Sequence[Pair], size: int) -> Iterator[list[Pair]]:
    left = iter(pairs)
    while part := list(islice(left, size)):
        yield part
