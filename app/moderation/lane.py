"""One pattern's runs in one text: those that stand at different points, and those that only count characters.

A run that is inside of `[…]{20,220}` and nowhere else is not stepped: it is known by where it began to count,
and all runs of that counter wait in one line, the earliest first. Of those that may leave it at a character the
earliest covers what the others would find.
"""

from __future__ import annotations

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
    def __init__(self, crowds: Crowds) -> None:
        self.machine = crowds.machine
        self._crowds = crowds
        self._crowd = crowds.nobody
        self._runs: list[Run] = []  # in the order of their beginnings, as the crowd's points
        self._lines: dict[Counter, deque[_Counting]] = {}
        self._oldest = 0  # no run's width ends before this one's, counted from here

    @property
    def live(self) -> bool:
        return bool(self._runs or self._lines)

    @property
    def start(self) -> int:
        """Where the earliest run began; only while live."""
        starts = [line[0].run.start for line in self._lines.values()]
        if self._runs:
            starts.append(self._runs[0].start)
        return min(starts)

    def enter(self, run: Run, point: Point, position: int) -> None:
        """A run that stands at `point` before the character at a folded position."""
        counted = self.machine.counted(point)
        if counted is None or not self._queue(counted[0], _Counting(run, position - counted[1])):
            self._add(run, point)

    def step(self, behind: CharClass, ahead: CharClass, position: int) -> Accepted:
        """Take the character at a folded position, of class `ahead`. Returns the runs that are matches now."""
        found: Accepted = ()
        leaving: list[tuple[Run, Point]] = []
        if self._lines:
            found = self._step_lines(behind, ahead, position, leaving)
        if self._runs:
            move = self._crowd.moves.get(ahead) or self._crowds.move(self._crowd, ahead)
            if move.plain:
                self._crowd = move.crowd
            else:
                found = [*found, *self._thin(move, position)]
        for run, point in leaving:
            self.enter(run, point, position + 1)
        width = self.machine.max_width
        if width is not None and position + 1 - self._oldest > width:
            self._expire(position + 1 - width)
        if self._crowd.accepting:
            found = [*found, *((self._runs[place], position + 1) for place in self._crowd.accepting)]
        if self._lines:
            found = [*found, *self._counted_enough(ahead, position + 1)]
        return found

    def finish(self, behind: CharClass, position: int) -> Accepted:
        """The runs that are matches if the text ends here."""
        found = [
            (run, position)
            for run, point in zip(self._runs, self._crowd.points, strict=True)
            if self.machine.ends(point)
        ]
        for counter, line in self._lines.items():
            enough = position - line[0].entry >= counter.least
            if enough and self.machine.ends(self.machine.after(counter, behind)):
                found.append((line[0].run, position))
        return found

    def __repr__(self) -> str:
        counting = sum(map(len, self._lines.values()))
        return f"<Lane rule={self.machine.rule} runs={len(self._runs)} counting={counting}>"

    def _queue(self, counter: Counter, counting: _Counting) -> bool:
        """Put it at the end of its line, unless another order would be needed."""
        line = self._lines.setdefault(counter, deque())
        if line and (line[-1].run.start > counting.run.start or line[-1].entry > counting.entry):
            return False
        if line and line[-1].entry == counting.entry:
            last = line.pop().run
            counting = _Counting(last._replace(newest=max(last.newest, counting.run.newest)), counting.entry)
        line.append(counting)
        return True

    def _step_lines(
        self, behind: CharClass, ahead: CharClass, position: int, leaving: list[tuple[Run, Point]]
    ) -> Accepted:
        found: list[tuple[Run, int]] = []
        for counter, line in list(self._lines.items()):
            run, entry = line[0]
            if position - entry >= counter.least:
                after = self.machine.after(counter, behind)
                point, accepted = self.machine.step(after, ahead)
                if accepted and not after.accepts:
                    found.append((run, position))
                if point is not None:
                    leaving.append((run._replace(newest=line[-1].run.newest), point))
            if ahead.members[counter.chars]:
                self._drop_spent(line, counter, position + 1)
            else:
                line.clear()
            if not line:
                del self._lines[counter]
        return found

    def _drop_spent(self, line: deque[_Counting], counter: Counter, position: int) -> None:
        width = self.machine.max_width or position
        while line and (line[0].entry < position - counter.most or line[0].run.newest < position - width):
            line.popleft()

    def _counted_enough(self, behind: CharClass, position: int) -> Accepted:
        return [
            (line[0].run, position)
            for counter, line in self._lines.items()
            if position - line[0].entry >= counter.least and self.machine.after(counter, behind).accepts
        ]

    def _add(self, run: Run, point: Point) -> None:
        points = self._crowd.points
        if self.machine.merges and point in points:
            known = self._runs[points.index(point)]
            if known.start <= run.start:
                self._runs[points.index(point)] = known._replace(newest=max(known.newest, run.newest))
                return
        if not self._runs:
            self._oldest = run.newest
        if self._runs and self._runs[-1].start > run.start:
            self._insert(run, point)
        else:
            self._runs.append(run)
            self._crowd = self._crowds.join(self._crowd, point)
        if len(self._runs) > MOST_RUNS:
            self._unite()
        self._oldest = min(self._oldest, run.newest)

    def _insert(self, run: Run, point: Point) -> None:
        """Among the others by its beginning; of two at one point only the earlier goes on, if it covers the other."""
        standing = [*zip(self._runs, self._crowd.points, strict=True), (run, point)]
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
        self._runs = runs
        self._crowd = self._crowds.of(tuple(points))

    def _unite(self) -> None:
        """Follow the last two as one from the earlier's beginning: what either finds is covered, and maybe more."""
        last = self._runs.pop()
        self._runs[-1] = self._runs[-1]._replace(
            newest=max(self._runs[-1].newest, last.newest), checked=self.machine.merges
        )
        *points, earlier, later = self._crowd.points
        self._crowd = self._crowds.of((*points, self.machine.union(earlier, later)))

    def _thin(self, move: Move, position: int) -> Accepted:
        runs = self._runs
        found = [(runs[number], position) for number in move.early]
        self._runs = [runs[number] for number in move.kept]
        for place, number in move.merged:
            newest = max(self._runs[place].newest, runs[number].newest)
            self._runs[place] = self._runs[place]._replace(newest=newest)
        self._crowd = move.crowd
        self._oldest = min((run.newest for run in self._runs), default=position)
        for number, point in move.counting:
            self.enter(runs[number], point, position + 1)
        return found

    def _expire(self, oldest: int) -> None:
        """End the runs whose newest beginning is before a folded position."""
        standing = zip(self._runs, self._crowd.points, strict=True)
        left = [(run, point) for run, point in standing if run.newest >= oldest]
        self._runs = [run for run, _point in left]
        self._crowd = self._crowds.of(tuple(point for _run, point in left))
        self._oldest = min((run.newest for run in self._runs), default=oldest)
