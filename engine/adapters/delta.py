"""What adapters add to a product: two thin matrices each, several of them side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from engine.adapters.targets import Site


class Up(NamedTuple):
    """What part of a fused product gets: `out[:, start:end] += hidden[:, first:last] @ weight`."""

    first: int
    last: int
    start: int
    end: int
    weight: Tensor  # [last - first, end - start], the scale multiplied in


class Pair(NamedTuple):
    """An adapter's matrices for one module, as its file has them, the scale multiplied into the second."""

    down: Tensor  # [r, in]
    up: Tensor  # [r, out]


@dataclass(frozen=True, slots=True)
class Delta:
    """`hidden = x @ down.T`, then the ups. `owners` says whose each column of `hidden` is: (member, columns) runs."""

    down: Tensor  # [R, in]
    ups: tuple[Up, ...]
    owners: tuple[tuple[int, int], ...]

    @property
    def bytes(self) -> int:
        return self.down.nbytes + sum(up.weight.nbytes for up in self.ups)

    def pairs(self) -> dict[int, Pair]:
        """By the first output of the part: what a delta of one adapter is made of."""
        return {up.start: Pair(self.down[up.first : up.last], up.weight) for up in self.ups}


Deltas = Mapping[int, Delta]
"""By site; a site that is not changed is not there."""


def delta_of(site: Site, pairs: Mapping[int, Pair]) -> Delta:
    """One adapter's delta at a site. pairs: by part."""
    starts = {part: sum(site.outputs[:part]) for part in pairs}
    return _side_by_side({starts[part]: [(0, pairs[part])] for part in sorted(pairs)})


def stacked(members: Sequence[Deltas]) -> dict[int, Delta]:
    """Several adapters' deltas as one; member i is `members[i]`."""
    sites = sorted(set().union(*members))
    return {site: _stacked_at(site, members) for site in sites}


def _stacked_at(site: int, members: Sequence[Deltas]) -> Delta:
    parts: dict[int, list[tuple[int, Pair]]] = {}
    for member, deltas in enumerate(members):
        if (delta := deltas.get(site)) is not None:
            for start, pair in delta.pairs().items():
                parts.setdefault(start, []).append((member, pair))
    return _side_by_side(parts)


def _side_by_side(parts: Mapping[int, Sequence[tuple[int, Pair]]]) -> Delta:
    """parts: by first output, whose pairs it gets."""
    ups: list[Up] = []
    owners: list[tuple[int, int]] = []
    first = 0
    for start, pairs in parts.items():
        weight = _joined([pair.up for _, pair in pairs])
        ups.append(Up(first, first + len(weight), start, start + weight.shape[1], weight))
        owners += [(member, len(pair.down)) for member, pair in pairs]
        first += len(weight)
    down = _joined([pair.down for pairs in parts.values() for _, pair in pairs])
    return Delta(down, tuple(ups), tuple(owners))


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
