"""The batch as the device has it: what a replay reads and leaves for the next one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from engine.batch import Row
from engine.cuda.choice import Wishes, wish_of
from engine.cuda.device import Device
from engine.cuda.shaped import Shaped
from engine.cuda.slots import Grow, Join, Leave, Move, Patch


class BatchState:
    """Tensors with a row for each slot. A slot is alive while its position is one that its pages cover."""

    def __init__(self, device: Device, slots: int, table_pages: int, page_tokens: int, vocab: int) -> None:
        self._device, self._page_tokens = device, page_tokens
        place = device.torch
        self._whole = torch.zeros(3, slots, dtype=torch.int64, device=place)
        self.ids, self.positions, self.capacities = self._whole
        self.tables = torch.zeros(slots, table_pages, dtype=torch.int32, device=place)
        self._table = self.tables.view(-1)
        self.wishes = Wishes.of(slots, place)
        self.shaped = Shaped(device, slots, vocab)
        self.tokens = torch.zeros(slots, dtype=torch.int64, device=place)  # what the last replay chose

    def apply(self, patches: Sequence[Patch]) -> None:
        """Patch the slots, behind all replays that are on their way."""
        if not patches:
            return
        self._leave([patch.slot for patch in patches if type(patch) is Leave])
        self._move([patch for patch in patches if type(patch) is Move])
        self._join([patch for patch in patches if type(patch) is Join])
        self._grow([patch for patch in patches if type(patch) is Grow])

    def advance(self, rows: int, tokens: Tensor) -> None:
        """Go on with the tokens of the first `rows` slots; one below 0 leaves its slot where it is. tokens: [rows]."""
        alive = self.positions[:rows] < self.capacities[:rows]
        self.tokens[:rows] = tokens
        chosen = alive & (tokens >= 0)
        self.ids[:rows] = torch.where(chosen, tokens, self.ids[:rows])
        self.positions[:rows] += chosen

    def lengths(self, rows: int) -> Tensor:
        """Tokens that each slot's row attends to, its own counted; 0 where the slot is not alive. [rows]."""
        positions = self.positions[:rows]
        return torch.where(positions < self.capacities[:rows], positions + 1, 0)

    def places(self, rows: int) -> Tensor:
        """Where each row's keys and values go in the pools, -1 where the slot is not alive. [rows]."""
        positions, size = self.positions[:rows], self._page_tokens
        alive = positions < self.capacities[:rows]
        index = torch.where(alive, positions // size, 0)
        pages = self.tables[:rows].gather(1, index[:, None])[:, 0].long()
        return torch.where(alive, pages * size + positions % size, -1)

    def _leave(self, slots: list[int]) -> None:
        if slots:
            self.capacities.index_fill_(0, self._send(slots), 0)

    def _move(self, moves: list[Move]) -> None:
        if moves:
            columns = self._send([[move.slot, move.token, move.position] for move in moves]).T
            self._whole[:2].index_copy_(1, columns[0], columns[1:])
            self.shaped.join([(move.slot, move.row) for move in moves if move.row is not None])

    def _join(self, joins: list[Join]) -> None:
        if not joins:
            return
        wishes = [wish_of(join.row.sampling, join.row.seed) for join in joins]
        whole = [
            [join.slot, join.row.tokens[0], join.row.start, self._capacity(len(join.row.pages)), key, most]
            for join, (key, _, most, _, _) in zip(joins, wishes, strict=True)
        ]
        columns = self._send(whole).T
        slots = columns[0]
        self._whole.index_copy_(1, slots, columns[1:4])
        self.wishes.whole.index_copy_(1, slots, columns[4:])
        real = [[temperature, limit, least] for _, temperature, _, limit, least in wishes]
        self.wishes.real.index_copy_(1, slots, self._send(real, torch.float32).T)
        places, pages = self._send(self._entries((join.slot, 0, join.row.pages) for join in joins))
        self._table.index_copy_(0, places, pages.int())
        self.shaped.join([(join.slot, join.row) for join in joins])

    def _grow(self, grows: list[Grow]) -> None:
        if grows:
            # One flat list crosses, and is cut once: this is done in most steps of a large batch.
            places, pages = self._entries(grows)
            slots = [grow.slot for grow in grows]
            ends = [self._capacity(grow.first + len(grow.pages)) for grow in grows]
            told = self._send([*places, *pages, *slots, *ends])
            sizes = (len(places), len(pages), len(slots), len(ends))
            at, written, grown, capacities = told.split_with_sizes(sizes)
            self._table.index_copy_(0, at, written.int())
            self.capacities.index_copy_(0, grown, capacities)

    def _entries(self, tables: Iterable[tuple[int, int, Sequence[int]]]) -> tuple[list[int], list[int]]:
        """Where pages go in all slots' tables, and which they are. tables: (slot, place of the first, pages)."""
        width = self.tables.shape[1]
        places: list[int] = []
        written: list[int] = []
        for slot, first, pages in tables:
            fitting = pages[: width - first]
            begin = slot * width + first
            places += range(begin, begin + len(fitting))
            written += fitting
        return places, written

    def _capacity(self, pages: int) -> int:
        """How many positions so many pages cover, as far as a table goes."""
        return min(pages, self.tables.shape[1]) * self._page_tokens

    def _send(self, values: Sequence[object], dtype: torch.dtype = torch.int64) -> Tensor:
        return self._device.send(torch.tensor(values, dtype=dtype))


def table_of(rows: Sequence[Row]) -> Tensor:
    """The rows' page tables side by side. int32 [R, P]."""
    width = max(len(row.pages) for row in rows)
    padded = [[*row.pages, *[0] * (width - len(row.pages))] for row in rows]
    return torch.tensor(padded, dtype=torch.int32)
