"""How many frames that say nothing a connection may send (pure): a bucket that fills with time."""

from __future__ import annotations

from typing import Final

PER_S: Final = 1_000
"""Pings, pongs and tiny fragments a second, for as long as a client likes; heartbeats are one in some seconds."""
AT_ONCE: Final = 10_000
"""What may come in a burst, after a stall of the network say."""
TINY_BYTES: Final = 64
"""A fragment shorter than this costs more to parse than to send."""


class FrameBudget:
    __slots__ = ("_at", "_left")

    def __init__(self, now: float) -> None:
        self._left = float(AT_ONCE)
        self._at = now

    def spend(self, now: float) -> bool:
        """Take one frame's worth; false if there is none left. `now` never falls."""
        self._left = min(float(AT_ONCE), self._left + (now - self._at) * PER_S)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
