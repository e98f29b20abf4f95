"""Matches under way that only count characters: in the midst of `[…]{20,220}`, and nowhere else.

They are not stepped. Each is known by the place where it began to count, and all of one counter wait in one line,
the earliest first. Of those that may leave it at a character the first covers what the others would find.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from app.moderation.crowd import FAR, Waiting
from app.moderation.machine import Machine
from app.moderation.syntax import Counter

# Where a match began: raw and folded position. And the folded position where the last one began that was merged
# into it; the pattern's width counts from there.
Run = tuple[int, int, int]


@dataclass(slots=True)
class _Line:
    machine: Machine
    # With the folded position of the first character that was counted.
    runs: deque[tuple[Run, int]] = field(default_factory=deque)


class Lines:
    """The lines of one text."""

    def __init__(self) -> None:
        self._lines: dict[Counter, _Line] = {}

    def __contains__(self, counter: Counter) -> bool:
        return counter in self._lines

    def __len__(self) -> int:
        return sum(len(line.runs) for line in self._lines.values())

    def first(self, counter: Counter, position: int) -> Run:
        """The earliest that has not counted all it can before a folded position."""
        line = self._lines[counter]
        self._drop_spent(line, counter, position)
        return line.runs[0][0]

    def leaver(self, counter: Counter, position: int) -> Run:
        """The first, as it goes on for all of them; it stays in the line."""
        start, first, _newest = self.first(counter, position)
        return start, first, self._lines[counter].runs[-1][0][2]

    def begin(self, machine: Machine, counter: Counter, run: Run, entry: int) -> None:
        """A line of one. `entry`: folded position of the first character that is counted."""
        self._lines[counter] = _Line(machine, deque([(run, entry)]))

    def join(self, counter: Counter, run: Run, entry: int) -> bool:
        """Put it at the end of its line, unless another order would be needed."""
        runs = self._lines[counter].runs
        (start, first, newest), last_entry = runs[-1]
        if start > run[0] or last_entry > entry:
            return False
        if last_entry == entry or counter.most is None:
            runs[-1] = (start, first, max(newest, run[2])), last_entry
        else:
            runs.append((run, entry))
        return True

    def end(self, counter: Counter) -> None:
        del self._lines[counter]

    def clear(self) -> None:
        self._lines.clear()

    def state(self, position: int) -> tuple[tuple[Waiting, ...], int]:
        """All lines before the character at a folded position, and the next position at which that may change."""
        waiting: list[Waiting] = []
        alarm = FAR
        for counter, line in [*self._lines.items()]:
            self._drop_spent(line, counter, position)
            if not line.runs:
                del self._lines[counter]
                continue
            due = position - line.runs[0][1] >= counter.least
            waiting.append(Waiting(line.machine, counter, due))
            alarm = min(alarm, self.until(counter, position))
        return tuple(waiting), alarm

    def _drop_spent(self, line: _Line, counter: Counter, position: int) -> None:
        """Those that have counted all they can, or have reached their pattern's width, before a position."""
        runs = line.runs
        latest = -1 if counter.most is None else position - counter.most
        narrow = position - (line.machine.max_width or position)
        while runs and (runs[0][1] < latest or runs[0][0][2] < narrow):
            runs.popleft()

    def until(self, counter: Counter, position: int) -> int:
        """Where a line ends or changes its state at the earliest: the last that is due does not last longer."""
        line = self._lines[counter]
        runs = line.runs
        run, entry = runs[0]
        if position - entry < counter.least:
            alarm = entry + counter.least
        elif counter.most is None:
            alarm = FAR
        else:
            if (
                not line.machine.open_counters
            ):  # else each that is first may be a match, and must be noted in time
                for later, later_entry in runs:
                    if position - later_entry < counter.least:
                        break
                    run, entry = later, later_entry
            alarm = entry + counter.most + 1
        return min(alarm, run[2] + line.machine.max_width + 1) if line.machine.max_width else alarm

    def __repr__(self) -> str:
        return f"<Lines {len(self._lines)} of {len(self)}>"
