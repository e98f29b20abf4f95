"""Plots as inline SVG (pure): bars with a dot for each round, and curves of percentiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from loadtest.histogram import Histogram

COLOURS: Final = 6
SHARES: Final = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
_WIDTH: Final = 640
_LEFT: Final = 170
_RIGHT: Final = 90
_BAR: Final = 26
_HEIGHT: Final = 240
_FOOT: Final = 28
_MARGIN: Final = 60
_MARKS: Final = 9
_LABEL: Final = 24


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
            f'<text x="{_LEFT - 8}" y="{top + 17}" text-anchor="end">{escape(_shortened(row.label))}</text>'
            f'<rect class="s{colour_of(place)}" x="{_LEFT}" y="{top + 5}" width="{row.median * scale:.1f}" '
            f'height="16" rx="2"/>'
            f'<text x="{_LEFT + most * scale + 10:.0f}" y="{top + 17}">{row.median:,.1f}</text>'
        )
        parts += [f'<circle cx="{_LEFT + value * scale:.1f}" cy="{top + 13}" r="3"/>' for value in row.rounds]
    return _svg(title, len(rows) * _BAR + 6, "".join(parts))


def curves(title: str, series: Sequence[tuple[str, Histogram]]) -> str:
    """Milliseconds, on a logarithmic scale, by the share of values that do not exceed them."""
    points = {
        place: [max(times.percentile(share) * 1e3, 1e-3) for share in SHARES]
        for place, (_, times) in enumerate(series)
        if len(times)
    }
    marks = scale_marks([value for line in points.values() for value in line] or [1.0])
    low, high = math.log10(marks[0]), math.log10(marks[-1])
    across = (_WIDTH - _MARGIN - _RIGHT) / (len(SHARES) - 1)

    def y(value: float) -> float:
        return 10 + (_HEIGHT - 20) * (high - math.log10(value)) / (high - low)

    parts = [_rule(y(mark), f"{mark:g} ms") for mark in marks]
    parts += [
        f'<text class="axis" x="{_MARGIN + place * across:.0f}" y="{_HEIGHT + 16}" text-anchor="middle">'
        f"{share:.1%}</text>".replace(".0%", "%")
        for place, share in enumerate(SHARES)
    ]
    for place, line in points.items():
        at = " ".join(f"{_MARGIN + step * across:.1f},{y(value):.1f}" for step, value in enumerate(line))
        parts.append(f'<polyline class="l{colour_of(place)}" points="{at}"/>')
    return _svg(title, _HEIGHT + _FOOT, "".join(parts))


def legend(labels: Sequence[str]) -> str:
    """Which line is whose, by colour and dashes."""
    items = "".join(
        f'<li><svg viewBox="0 0 28 10" aria-hidden="true">'
        f'<line class="l{colour_of(place)}" x1="0" x2="28" y1="5" y2="5"/></svg>{escape(label)}</li>'
        for place, label in enumerate(labels)
    )
    return f'<ul class="legend">{items}</ul>'


def colour_of(place: int) -> int:
    """Of the servers' colours the one of this server; the seventh has the first one's again."""
    return place % COLOURS


def scale_marks(values: Sequence[float]) -> list[float]:
    """Round numbers (1, 2, 5 of each power of ten, or powers alone where that is many) around positive values."""
    # One power more on each side: the logarithm of what is just below a power is rounded to it.
    powers = range(math.floor(math.log10(min(values))) - 1, math.ceil(math.log10(max(values))) + 2)
    for steps in ((1, 2, 5), (1,)):
        marks = [float(f"{step}e{power}") for power in powers for step in steps]
        below = max(place for place, mark in enumerate(marks) if mark <= min(values))
        above = next(place for place, mark in enumerate(marks) if mark >= max(values))
        marks = marks[below : max(above, below + 1) + 1]
        if len(marks) <= _MARKS:
            break
    return marks


def _rule(y: float, text: str) -> str:
    return (
        f'<line class="rule" x1="{_MARGIN}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="axis" x="{_MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    )


def _shortened(label: str) -> str:
    return label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}…"


def _svg(title: str, height: int, inside: str) -> str:
    return (
        f'<div class="wide"><svg class="plot" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{inside}</svg></div>"
    )
