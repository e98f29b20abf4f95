"""Matches under way that only count characters: in the midst of `[…]{20,220}`, and nowhere else.

They are not stepped. Each is known by the place where it began to count, and all of one counter wait in one line,
the earliest first. Of those that may leave it at a character the first covers what the others would find.
A line may outlast its last match for a while; that changes nothing that can be seen of it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from app.moderation.crowd import FAR, Run, Waiting
from app.moderation.machine import Machine
from app.moderation.program import Counter

# Matches, with the folded position of the first character that each counted.
_Line = deque[tuple[Run, int]]
NO_PLACE: Final = -1


class Lines:
    """The lines of one text."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[Counter, tuple[Machine, _Line]] = {}

    def __len__(self) -> int:
        return sum(len(line) for _machine, line in self._lines.values())

    def first(self, counter: Counter, position: int) -> Run | None:
        """The earliest that has not counted all it can before a folded position."""
        line = self._waiting(counter, position)
        return line[0][0] if line else None

    def due(self, counter: Counter, position: int) -> Run | None:
        """The same, if it has counted enough."""
        line = self._waiting(counter, position)
        return line[0][0] if line and position - line[0][1] >= counter.least else None

    def leaver(self, counter: Counter, position: int) -> Run | None:
        """The same, as it goes on for all of them; it stays in the line."""
        line = self._waiting(counter, position)
        if not line or position - line[0][1] < counter.least:
            return None
        start, first, _newest = line[0][0]
        return start, first, line[-1][0][2]

    def add(self, machine: Machine, counter: Counter, run: Run, entry: int, position: int) -> int:
        """Put it at the end of its line, or begin one. `entry`: folded position of the first character that it counted.
        Returns where a line that is begun changes at the earliest, `FAR` where there was one; `NO_PLACE` where another
        order would be needed, and nothing was done."""
        known = self._lines.get(counter)
        if known is None:
            self._lines[counter] = machine, deque(((run, entry),))
            return _until(machine, counter, run, entry, position)
        line = known[1]
        if line:
            (start, first, newest), last_entry = line[-1]
            if start > run[0] or last_entry > entry:
                return NO_PLACE
            if last_entry == entry or counter.most is None:
                line[-1] = (start, first, max(newest, run[2])), last_entry
                return FAR
        line.append((run, entry))
        return FAR

    def end(self, counter: Counter) -> None:
        del self._lines[counter]

    def clear(self) -> None:
        self._lines.clear()

    def state(self, position: int) -> tuple[tuple[Waiting, ...], int]:
        """All lines before the character at a folded position, and the next position at which that may change."""
        waiting: list[Waiting] = []
        alarm = FAR
        for counter, (machine, line) in [*self._lines.items()]:
            self._waiting(counter, position)
            if not line:
                del self._lines[counter]
                continue
            due = not machine.open_counters or position - line[0][1] >= counter.least
            waiting.append(Waiting(machine, counter, due))
            # Where the first may be a match that must be noted in time; else the last says how long there is one.
            run, entry = line[0 if machine.open_counters else -1]
            alarm = min(alarm, _until(machine, counter, run, entry, position))
        return tuple(waiting), alarm

    def _waiting(self, counter: Counter, position: int) -> _Line:
        """A line without those that have counted all they can, or have reached their pattern's width."""
        machine, line = self._lines[counter]
        latest = -1 if counter.most is None else position - counter.most
        narrow = position - (machine.max_width or position)
        while line and (line[0][1] < latest or line[0][0][2] < narrow):
            line.popleft()
        return line

    def __repr__(self) -> str:
        return f"<Lines {len(self._lines)} of {len(self)}>"


def _until(machine: Machine, counter: Counter, run: Run, entry: int, position: int) -> int:
    """Where a match in line changes its state."""
    if machine.open_counters and position - entry < counter.least:
        alarm = entry + counter.least
    elif counter.most is None:
        alarm = FAR
    else:
        alarm = entry + counter.most + 1
    width = machine.max_width
    return alarm if width is None or run[2] + width >= alarm else run[2] + width + 1
