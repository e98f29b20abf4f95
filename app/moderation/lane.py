"""One pattern's runs in one text: those that stand at different points, and those that only count characters.

A run that is inside of `[…]{20,220}` and nowhere else is not stepped: it is known by where it began to count,
and all runs of that counter wait in one line, the earliest first. Of those that may leave it at a character the
earliest covers what the others would find.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from app.moderation.crowd import MOST_RUNS, Crowds, Move
from app.moderation.machine import CharClass, Point
from app.moderation.syntax import Counter


class Run(NamedTuple):
    first: int  # folded position of its first character
    newest: int  # the same of the last run that was merged into it; the pattern's width counts from there
    start: int  # raw position, as in a match
    checked: bool = True  # whether its text is the whole of a possible match; else it counts as verified


class _Counting(NamedTuple):
    run: Run
    entry: int  # folded position of the first character that was counted


Accepted = Sequence[tuple[Run, int]]  # with the folded position where the match ends


class Lane:
    __slots__ = ("_crowds", "crowd", "lines", "machine", "runs", "until")

    def __init__(self, crowds: Crowds) -> None:
        self.machine = crowds.machine
        self._crowds = crowds
        self.crowd = crowds.nobody
        self.runs: list[Run] = []  # in the order of their beginnings, as the crowd's points
        self.lines: dict[Counter, deque[_Counting]] = {}
        self.until = sys.maxsize  # a folded position before which no run reaches the pattern's width

    @property
    def start(self) -> int:
        """Where the earliest run began; only while live."""
        starts = [line[0].run.start for line in self.lines.values()]
        if self.runs:
            starts.append(self.runs[0].start)
        return min(starts)

    def enter(self, run: Run, point: Point, position: int) -> None:
        """A run that stands at `point` before the character at a folded position."""
        counted = point.counted
        if self.machine.max_width is not None:
            self.until = min(self.until, run.newest + self.machine.max_width)
        if counted is None or not self._queue(counted[0], _Counting(run, position - counted[1])):
            self._add(run, point)

    def step(self, behind: CharClass, ahead: CharClass, position: int) -> Accepted:
        """Take the character at a folded position, of class `ahead`. Returns the runs that are matches now."""
        found: list[tuple[Run, int]] = []
        leaving: list[tuple[Run, Point]] = []
        if self.lines:
            self._step_lines(behind, ahead, position, found, leaving)
        if self.runs:
            move = self.crowd.moves.get(ahead) or self._crowds.move(self.crowd, ahead)
            if len(move.kept) == len(self.runs):
                self.crowd = move.crowd
                found += [(self.runs[number], position) for number in move.early]
            else:
                self._thin(move, position, found)
        for run, point in leaving:
            self.enter(run, point, position + 1)
        if position >= self.until:
            self._expire(position + 1)
        for place in self.crowd.accepting:
            found.append((self.runs[place], position + 1))
        if self.lines and self.machine.open_counters:
            self._count_enough(ahead, position + 1, found)
        return found

    def finish(self, behind: CharClass, position: int) -> Accepted:
        """The runs that are matches if the text ends here."""
        found = [
            (run, position)
            for run, point in zip(self.runs, self.crowd.points, strict=True)
            if self.machine.ends(point)
        ]
        for counter, line in self.lines.items():
            enough = position - line[0].entry >= counter.least
            if enough and self.machine.ends(self.machine.after(counter, behind)):
                found.append((line[0].run, position))
        return found

    def __repr__(self) -> str:
        counting = sum(map(len, self.lines.values()))
        return f"<Lane rule={self.machine.rule} runs={len(self.runs)} counting={counting}>"

    def _queue(self, counter: Counter, counting: _Counting) -> bool:
        """Put it at the end of its line, unless another order would be needed."""
        line = self.lines.setdefault(counter, deque())
        if line and (line[-1].run.start > counting.run.start or line[-1].entry > counting.entry):
            return False
        if line and line[-1].entry == counting.entry:
            last = line.pop().run
            counting = _Counting(last._replace(newest=max(last.newest, counting.run.newest)), counting.entry)
        line.append(counting)
        return True

    def _step_lines(
        self,
        behind: CharClass,
        ahead: CharClass,
        position: int,
        found: list[tuple[Run, int]],
        leaving: list[tuple[Run, Point]],
    ) -> None:
        over: list[Counter] = []
        for counter, line in self.lines.items():
            run, entry = line[0]
            if position - entry >= counter.least:
                point, accepted = self.machine.leave(counter, behind, ahead)
                if accepted:
                    found.append((run, position))
                if point is not None:
                    leaving.append((run._replace(newest=line[-1].run.newest), point))
            if not ahead.members[counter.chars]:
                over.append(counter)
            elif entry <= position - counter.most or position >= self.until:
                self._drop_spent(line, counter, position + 1)
                if not line:
                    over.append(counter)
        for counter in over:
            del self.lines[counter]

    def _drop_spent(self, line: deque[_Counting], counter: Counter, position: int) -> None:
        narrow = position - (self.machine.max_width or position)
        while line and (line[0].entry < position - counter.most or line[0].run.newest < narrow):
            line.popleft()

    def _count_enough(self, behind: CharClass, position: int, found: list[tuple[Run, int]]) -> None:
        for counter, line in self.lines.items():
            if position - line[0].entry >= counter.least and self.machine.after(counter, behind).accepts:
                found.append((line[0].run, position))

    def _add(self, run: Run, point: Point) -> None:
        points = self.crowd.points
        if self.machine.merges and point in points:
            known = self.runs[points.index(point)]
            if known.start <= run.start:
                self.runs[points.index(point)] = known._replace(newest=max(known.newest, run.newest))
                return
        if self.runs and self.runs[-1].start > run.start:
            self._insert(run, point)
        else:
            self.runs.append(run)
            self.crowd = self._crowds.join(self.crowd, point)
        if len(self.runs) > MOST_RUNS:
            self._unite()

    def _insert(self, run: Run, point: Point) -> None:
        """Among the others by its beginning; of two at one point only the earlier goes on, if it covers the other."""
        standing = [*zip(self.runs, self.crowd.points, strict=True), (run, point)]
        standing.sort(key=lambda pair: (pair[0].start, pair[0].first))
        runs: list[Run] = []
        points: list[Point] = []
        for run, point in standing:
            if self.machine.merges and point in points:
                place = points.index(point)
                runs[place] = runs[place]._replace(newest=max(runs[place].newest, run.newest))
            else:
                runs.append(run)
                points.append(point)
        self.runs = runs
        self.crowd = self._crowds.of(tuple(points))

    def _unite(self) -> None:
        """Follow the last two as one from the earlier's beginning: what either finds is covered, and maybe more."""
        last = self.runs.pop()
        self.runs[-1] = self.runs[-1]._replace(
            newest=max(self.runs[-1].newest, last.newest), checked=self.machine.merges
        )
        *points, earlier, later = self.crowd.points
        self.crowd = self._crowds.of((*points, self.machine.union(earlier, later)))

    def _thin(self, move: Move, position: int, found: list[tuple[Run, int]]) -> None:
        runs = self.runs
        found += [(runs[number], position) for number in move.early]
        self.runs = [runs[number] for number in move.kept]
        for place, number in move.merged:
            newest = max(self.runs[place].newest, runs[number].newest)
            self.runs[place] = self.runs[place]._replace(newest=newest)
        self.crowd = move.crowd
        for number, point in move.counting:
            self.enter(runs[number], point, position + 1)

    def _expire(self, position: int) -> None:
        """End the runs that have reached the pattern's width before a folded position."""
        width = self.machine.max_width
        if width is None:
            return
        standing = zip(self.runs, self.crowd.points, strict=True)
        left = [(run, point) for run, point in standing if position - run.newest <= width]
        self.runs = [run for run, _point in left]
        self.crowd = self._crowds.of(tuple(point for _run, point in left))
        newest = [run.newest for run in self.runs] + [line[0].run.newest for line in self.lines.values()]
        self.until = min(newest, default=position) + width
