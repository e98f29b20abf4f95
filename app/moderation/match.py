"""What is found in a text."""

from __future__ import annotations

from typing import NamedTuple


class Match(NamedTuple):
    """Certain: rule number `rule` covers the raw characters from `start` up to `end`.

    What shows nothing right before the first matched character belongs to the match.
    """

    start: int
    end: int
    rule: int
