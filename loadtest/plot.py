"""Plots as inline SVG (pure): bars with a dot for each round, and curves of percentiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from loadtest.histogram import Histogram

SHARES: Final = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
_WIDTH: Final = 640
_LEFT: Final = 170
_RIGHT: Final = 90
_BAR: Final = 26
_HEIGHT: Final = 240
_FOOT: Final = 28
_MARGIN: Final = 60


@dataclass(frozen=True, slots=True)
class Bar:
    """A server's value in each round, and their median."""

    label: str
    median: float
    rounds: tuple[float, ...]


def bars(title: str, rows: Sequence[Bar]) -> str:
    """A bar of each server's median, its rounds as dots."""
    most = max((value for row in rows for value in (row.median, *row.rounds)), default=0.0) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    parts = []
    for place, row in enumerate(rows):
        top = place * _BAR
        parts.append(
            f'<text x="{_LEFT - 8}" y="{top + 17}" text-anchor="end">{escape(row.label)}</text>'
            f'<rect class="s{place}" x="{_LEFT}" y="{top + 5}" width="{row.median * scale:.1f}" height="16" rx="2"/>'
            f'<text x="{_LEFT + most * scale + 10:.0f}" y="{top + 17}">{row.median:,.1f}</text>'
        )
        parts += [f'<circle cx="{_LEFT + value * scale:.1f}" cy="{top + 13}" r="3"/>' for value in row.rounds]
    return _svg(title, len(rows) * _BAR + 6, "".join(parts))


def curves(title: str, series: Sequence[tuple[str, Histogram]]) -> str:
    """Milliseconds, on a logarithmic scale, by the share of values that do not exceed them."""
    points = {
        label: [(share, max(times.percentile(share) * 1e3, 1e-3)) for share in SHARES]
        for label, times in series
        if len(times)
    }
    values = [value for line in points.values() for _, value in line] or [1.0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    across = (_WIDTH - _MARGIN - _RIGHT) / (len(SHARES) - 1)

    def y(value: float) -> float:
        return 10 + (_HEIGHT - 20) * (high - math.log10(value)) / (high - low)

    parts = [_rule(y(10.0**power), f"{10.0**power:g} ms") for power in range(low, high + 1)]
    parts += [
        f'<text class="axis" x="{_MARGIN + place * across:.0f}" y="{_HEIGHT + 16}" text-anchor="middle">'
        f"{share:.1%}</text>".replace(".0%", "%")
        for place, share in enumerate(SHARES)
    ]
    for place, label in enumerate(label for label, _ in series):
        if label not in points:
            continue
        line = " ".join(
            f"{_MARGIN + step * across:.1f},{y(value):.1f}" for step, (_, value) in enumerate(points[label])
        )
        end = y(points[label][-1][1])
        parts.append(
            f'<polyline class="l{place}" points="{line}"/>'
            f'<text class="t{place}" x="{_WIDTH - _RIGHT + 6}" y="{end + 4:.1f}">{escape(label)}</text>'
        )
    return _svg(title, _HEIGHT + _FOOT, "".join(parts))


def _rule(y: float, text: str) -> str:
    return (
        f'<line class="rule" x1="{_MARGIN}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="axis" x="{_MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    )


def _svg(title: str, height: int, inside: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{inside}</svg>"
    )
