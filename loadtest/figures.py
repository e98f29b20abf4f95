"""The arithmetic of reports: percentiles, medians, ratios (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from msgspec import Struct


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed, interpolated between neighbours.

    Raises ValueError for no values, or a share out of range.
    """
    if not values:
        raise ValueError("a percentile of no values")
    if not 0 <= share <= 1:
        raise ValueError("share must be from 0 to 1")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    low, high = ordered[below], ordered[math.ceil(place)]
    return low if low == high else min(high, low + (high - low) * (place - below))


def median(values: Iterable[float]) -> float:
    return percentile(list(values), 0.5)


def ratio(ours: float, theirs: float) -> float | None:
    """None where there is nothing to compare with."""
    return ours / theirs if theirs > 0 else None


class Spread(Struct, frozen=True):
    """How values lie: their number, middle and ends."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None of no values: a figure that was not measured stays empty."""
        if not values:
            return None
        return cls(
            len(values),
            percentile(values, 0.5),
            percentile(values, 0.9),
            percentile(values, 0.99),
            max(values),
        )


def median_spread(spreads: Sequence[Spread]) -> Spread | None:
    """The median of each figure over several runs; counts are added."""
    if not spreads:
        return None
    return Spread(
        sum(one.count for one in spreads),
        median(one.p50 for one in spreads),
        median(one.p90 for one in spreads),
        median(one.p99 for one in spreads),
        median(one.max for one in spreads),
    )
