"""Matches under way that only count characters: in the midst of `[…]{20,220}`, and nowhere else.

They are not stepped. Each is known by the place where it began to count, and all of one counter wait in one line,
the earliest first. Of those that may leave it at a character the first covers what the others would find.
A line may outlast its last match for a while; that changes nothing that can be seen of it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from app.moderation.crowd import FAR, Run, Waiting
from app.moderation.machine import Machine
from app.moderation.syntax import Counter


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

    def first(self, counter: Counter, position: int) -> Run | None:
        """The earliest that has not counted all it can before a folded position."""
        runs = self._waiting(counter, position)
        return runs[0][0] if runs else None

    def due(self, counter: Counter, position: int) -> Run | None:
        """The same, if it has counted enough."""
        runs = self._waiting(counter, position)
        return runs[0][0] if runs and position - runs[0][1] >= counter.least else None

    def leaver(self, counter: Counter, position: int) -> Run | None:
        """The same, as it goes on for all of them; it stays in the line."""
        run = self.due(counter, position)
        return None if run is None else (run[0], run[1], self._lines[counter].runs[-1][0][2])

    def begin(self, machine: Machine, counter: Counter, run: Run, entry: int) -> None:
        """A line of one. `entry`: folded position of the first character that is counted."""
        self._lines[counter] = _Line(machine, deque([(run, entry)]))

    def join(self, counter: Counter, run: Run, entry: int) -> bool:
        """Put it at the end of its line, unless another order would be needed."""
        runs = self._lines[counter].runs
        if not runs:
            runs.append((run, entry))
            return True
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
            runs = self._waiting(counter, position)
            if not runs:
                del self._lines[counter]
                continue
            due = not line.machine.open_counters or position - runs[0][1] >= counter.least
            waiting.append(Waiting(line.machine, counter, due))
            alarm = min(alarm, self.until(counter, position))
        return tuple(waiting), alarm

    def until(self, counter: Counter, position: int) -> int:
        """Where a line ends or changes its state at the earliest."""
        machine, runs = self._lines[counter].machine, self._lines[counter].runs
        # Where each that is first may be a match it must be noted in time; else the last says how long there is one.
        run, entry = runs[0 if machine.open_counters else -1]
        if machine.open_counters and position - entry < counter.least:
            alarm = entry + counter.least
        elif counter.most is None:
            alarm = FAR
        else:
            alarm = entry + counter.most + 1
        return min(alarm, run[2] + machine.max_width + 1) if machine.max_width else alarm

    def _waiting(self, counter: Counter, position: int) -> deque[tuple[Run, int]]:
        """A line without those that have counted all they can, or have reached their pattern's width."""
        line = self._lines[counter]
        runs = line.runs
        latest = -1 if counter.most is None else position - counter.most
        narrow = position - (line.machine.max_width or position)
        while runs and (runs[0][1] < latest or runs[0][0][2] < narrow):
            runs.popleft()
        return runs

    def __repr__(self) -> str:
        return f"<Lines {len(self._lines)} of {len(self)}>"
