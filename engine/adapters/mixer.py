"""Rows of several adapters, and of none, computed together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import torch
from torch import Tensor

from engine.adapters.adapter import Adapter
from engine.adapters.delta import Delta, Deltas, stacked
from engine.linear import Linear

_WASTE: Final = 2
"""A stack of more than so many times the adapters of a step is made anew: what else it holds is computed too."""


class HasAdapter(Protocol):
    """A row."""

    @property
    def tokens(self) -> Sequence[int]: ...

    @property
    def adapter(self) -> Adapter | None: ...


class Mixer:
    """What the adapters of a step's rows add to a model's products. `begin` comes before the step.

    Several adapters lie side by side in a stack, so that a product takes as many calls for ten of them as for one. It
    is kept, for the next step has the same ones, and is as much memory again.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._members: list[Adapter] = []
        self._deltas: Deltas = {}
        self._owner: Tensor | None = (
            None  # [T], each token's member, -1 for none; None: all are the only one's
        )
        self._foreign: dict[tuple[tuple[int, int], ...], Tensor] = {}  # by a delta's owners

    def begin(self, rows: Sequence[HasAdapter]) -> bool:
        """Whether any row of the next step has an adapter."""
        adapters = list(dict.fromkeys(row.adapter for row in rows if row.adapter is not None))
        if adapters:
            self._gather(adapters)
            alone = len(self._members) == 1 and all(row.adapter is not None for row in rows)
            self._owner = None if alone else self._owners(rows)
            self._foreign = {}
        return bool(adapters)

    def add(self, site: int, x: Tensor, out: Tensor) -> None:
        """Add to a product's outputs in place. x: [T, in], out: [T, out]."""
        delta = self._deltas.get(site)
        if delta is None:
            return
        hidden = x @ delta.down.T
        if self._owner is not None:
            # Not multiplied by 0: what overflows for one row's adapter must not become a NaN of another row.
            hidden.masked_fill_(self._foreign_to(self._owner, delta), 0)
        for first, last, start, end, weight in delta.ups:
            out[:, start:end].addmm_(hidden[:, first:last], weight)

    def forget(self, adapter: Adapter) -> None:
        """Keep nothing of an adapter that no row will have any more."""
        if adapter in self._members:
            self._members, self._deltas = [], {}

    def _gather(self, adapters: list[Adapter]) -> None:
        if set(adapters) <= set(self._members) and len(self._members) <= _WASTE * len(adapters):
            return
        self._deltas = {}  # the old stack's memory first
        self._members = adapters
        contents: list[Deltas] = [adapter.content for adapter in adapters]
        self._deltas = contents[0] if len(contents) == 1 else stacked(contents)

    def _owners(self, rows: Sequence[HasAdapter]) -> Tensor:
        number = {adapter: index for index, adapter in enumerate(self._members)}
        owners = [-1 if row.adapter is None else number[row.adapter] for row in rows]
        counts = torch.tensor([len(row.tokens) for row in rows], device=self._device)
        return torch.repeat_interleave(torch.tensor(owners, device=self._device), counts)

    def _foreign_to(self, owner: Tensor, delta: Delta) -> Tensor:
        """[T, R]: which columns are of another adapter than the row's; the same at all sites of the same ranks."""
        if (found := self._foreign.get(delta.owners)) is None:
            members = torch.tensor([member for member, _ in delta.owners], device=owner.device)
            ranks = torch.tensor([rank for _, rank in delta.owners], device=owner.device)
            found = owner[:, None] != torch.repeat_interleave(members, ranks)
            self._foreign[delta.owners] = found
        return found


class AdaptedLinear:
    """A product, and what the step's adapters add to it."""

    def __init__(self, base: Linear, site: int, mixer: Mixer) -> None:
        self._base, self._site, self._mixer = base, site, mixer

    def __call__(self, x: Tensor) -> Tensor:
        out = self._base(x)
        self._mixer.add(self._site, x, out)
        return out
