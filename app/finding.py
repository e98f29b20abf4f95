"""A line of what `sluice doctor` reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """`fault`: why something that is asked for cannot work."""

    part: str
    name: str
    value: str
    fault: bool = False
