"""Which replies have a token due: slots of time instead of a heap, cheap for thousands of equal intervals."""

from __future__ import annotations

from itertools import chain
from typing import Final

from engine.playback import Playback

SLOT_S: Final = 0.004  # one timer serves all tokens due within it, so a token comes at most this much early
CATCH_UP_S: Final = 0.05  # what a late reply may make good; beyond it the script slows down, as a model would


class Wheel:
    """Playbacks by the slot in which their next token is due. `interval_s` 0: due in every turn."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._slots: dict[int, list[Playback]] = {}

    def __bool__(self) -> bool:
        return bool(self._slots)

    def add(self, playback: Playback, now: float) -> None:
        """Its first token is due now."""
        playback.on_wheel = True
        playback.due_s = now
        self._slots.setdefault(int(now / SLOT_S), []).append(playback)

    def turn(self, now: float) -> list[Playback]:
        """Take out all that are due."""
        current = int(now / SLOT_S)
        slots = sorted(slot for slot in self._slots if slot <= current)
        if len(slots) == 1:
            return self._slots.pop(slots[0])
        return list(chain.from_iterable(map(self._slots.pop, slots)))

    def again(self, playbacks: list[Playback], now: float) -> None:
        """Put back those that were due, each an interval after it was; without an interval the list as it is."""
        if not self._interval_s:
            self._slots[0] = playbacks
            return
        for playback in playbacks:
            due = playback.due_s + self._interval_s
            if due < now - CATCH_UP_S:
                due = now - CATCH_UP_S
            playback.due_s = due
            slot = int(due / SLOT_S)
            waiting = self._slots.get(slot)
            if waiting is None:
                self._slots[slot] = [playback]
            else:
                waiting.append(playback)

    def next_turn(self) -> float:
        """When the earliest slot is due; the wheel must not be empty."""
        return min(self._slots) * SLOT_S
