"""All that is under way in one text: its crowd, and where each of the crowd's slots and lines began."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from app.moderation.crowd import FAR, Change, Claim, Member, Move, Run, Runs
from app.moderation.crowds import STOP, Crowds
from app.moderation.lines import Lines
from app.moderation.machine import CharClass, Kinds, Machine, Point


class Underway:
    """`position`: folded characters taken. `claimed`: all that the crowd claims has been noted by the owner."""

    __slots__ = ("_alarm", "_crowds", "_kind", "_lines", "_runs", "claimed", "crowd", "position")

    def __init__(self, crowds: Crowds, kinds: Kinds) -> None:
        self.crowd = crowds.nobody
        self.position = 0
        self.claimed = True
        self._crowds = crowds
        self._kind = kinds.__getitem__
        self._runs: Runs = ()  # of the crowd's slots
        self._lines = Lines()
        self._alarm = FAR  # no line and no width changes the crowd before this position

    def stride(self, text: str, index: int, end: int, at: int, pause: bool) -> int:
        """Take characters of `text[index:end]`, the first at a raw position, while each folds to one and no match need
        be noted. Returns how many. With `pause` it ends where nothing is under way.

        This is where a dear text is kept cheap: most characters cost two look-ups.
        """
        position = self.position
        alarm = self._alarm
        # Up to the alarm, and past it by itself where no match can be lost by it.
        size = min(end - index, alarm - position - 1) or int(self.claimed)
        limit = position + size
        taken = 0
        crowd, runs = self.crowd, self._runs
        steps = crowd.steps
        for taken, kind in enumerate(map(self._kind, text[index : index + size])):
            try:
                following, crowd, effect = steps[kind]
            except KeyError:
                break
            if effect is not None:
                if effect is STOP:
                    break
                pick, width, move = effect
                if move is not None:
                    self._runs, self.position = runs, position + taken
                    self.apply(move, at + taken)
                    crowd, runs, alarm = self.crowd, self._runs, self._alarm
                    following = crowd.steps
                    if crowd.claims and not crowd.lasting:
                        taken += 1
                        break
                else:
                    if width:
                        start = position + taken
                        runs = (*runs, (at + taken, start, start))
                        if start + 1 + width < alarm:
                            alarm = self._alarm = start + 1 + width
                    if pick is not None:
                        runs = pick(runs)
                if alarm <= limit or (pause and crowd.idle):
                    taken += 1
                    break
            steps = following
        else:
            taken = size
        self.crowd, self._runs, self.position = crowd, runs, position + taken
        if taken:
            self._settle()
        return taken

    def take(self, ahead: CharClass, move: Move, start: int) -> None:
        """Take the next character, folded from the one at a raw position: `move`."""
        self.apply(move, start)
        self._settle()

    def must_claim(self, move: Move) -> bool:
        """Whether what the crowd claims is lost, or may be, by a move, if it is not noted before."""
        return not self.claimed and (not move.carries or self.position + 1 >= self._alarm)

    def apply(self, move: Move, start: int) -> None:
        position = self.position
        if move.begins:
            self._runs = (*self._runs, (start, position, position))
            self._alarm = min(self._alarm, position + 1 + move.width)
        self.position = position + 1
        if move.plain:
            self._change(move.change)
            return
        going_on = [(machine, self._runs[slot], point) for machine, slot, point in move.counting]
        ghosts = False  # a line stands in the crowd for a leaver that there is not
        for (machine, counter, _due), point in move.leaving:
            run = self._lines.leaver(counter, position)
            if run is not None:
                going_on.append((machine, run, point))
            else:
                ghosts = ghosts or point.counted is not None
        for counter in move.over:
            self._lines.end(counter)
        self._change(move.change)
        for machine, run, point in going_on:
            self._enter(machine, run, point)
        if ghosts:
            self._ring()

    def rest(self, behind: CharClass, spaced: bool) -> None:
        """Nothing is under way any more, behind such a character."""
        self.crowd = self._crowds.of((), (), behind, spaced)
        self.claimed = True
        self._runs = ()
        self._lines.clear()
        self._alarm = FAR

    def first(self, tier: int) -> int | None:
        """Where the first of that tier began, as a raw position."""
        crowd = self.crowd
        slot = crowd.firsts[tier]
        begins = [] if slot is None else [self._runs[slot][0]]
        for counter in crowd.waiting[tier]:
            run = self._lines.first(counter, self.position)
            if run is not None:
                begins.append(run[0])
        return min(begins, default=None)

    def suspects(self, tiers: tuple[int, ...]) -> Iterator[tuple[int, int]]:
        """Where what is of these tiers began, as raw positions, and of which rule it is."""
        for run, members in zip(self._runs, self.crowd.slots, strict=True):
            for member in members:
                if member.machine.tier in tiers:
                    yield run[0], member.machine.rule
        for machine, counter, _due in self.crowd.lines:
            first = self._lines.first(counter, self.position)
            if machine.tier in tiers and first is not None:
                yield first[0], machine.rule

    def ending(self) -> list[Claim]:
        """What is a match if the text ends here."""
        claims: list[Claim] = []
        for slot, members in enumerate(self.crowd.slots):
            for machine, point, checked in members:
                if machine.ends(point):
                    claims.append(Claim(machine, slot, None, checked))
        for machine, counter, due in self.crowd.lines:
            if due and machine.ends(machine.after(counter, self.crowd.behind)):
                claims.append(Claim(machine, -1, counter, True))
        return claims

    def claimants(self, claims: Iterable[Claim]) -> Iterator[tuple[Run, Machine, bool]]:
        """Whose claims they are; of a line nobody's, where nobody in it has counted enough."""
        for machine, slot, counter, checked in claims:
            run = self._runs[slot] if counter is None else self._lines.due(counter, self.position)
            if run is not None:
                yield run, machine, checked

    def __repr__(self) -> str:
        return f"<Underway {self.crowd!r} {self._lines!r}>"

    def _settle(self) -> None:
        if self.position >= self._alarm:
            self._ring()
        self.claimed = not self.crowd.claims

    def _change(self, change: Change) -> None:
        crowd, pick, merged = change
        if merged:
            runs = [*self._runs]
            for slot, other in merged:
                start, first, newest = runs[slot]
                runs[slot] = start, first, max(newest, runs[other][2])
            self._runs = tuple(runs)
        if pick is not None:
            self._runs = pick(self._runs)
        self.crowd = crowd

    def _enter(self, machine: Machine, run: Run, point: Point) -> None:
        """A match under way stands at `point` now."""
        if point.counted is not None:
            counter, count = point.counted
            if counter not in self._lines:
                self._lines.begin(machine, counter, run, self.position - count)
                self._alarm = min(self._alarm, self._lines.until(counter, self.position))
                return
            if self._lines.join(counter, run, self.position - count):
                return
        start, first, newest = run
        runs = self._runs
        slot = bisect_left(runs, (start, first))
        new = slot == len(runs) or runs[slot][:2] != (start, first)
        if not new:
            run = start, first, max(newest, runs[slot][2])
        self._runs = (*runs[:slot], run, *runs[slot + (not new) :])
        if machine.max_width is not None:
            self._alarm = min(self._alarm, newest + machine.max_width + 1)
        self._change(self._crowds.enter(self.crowd, Member(machine, point), slot, new))

    def _ring(self) -> None:
        """A line has changed, or has counted all it can, or a pattern's width is reached; maybe."""
        alarm = self._end_spent() if self.crowd.narrow else FAR
        lines, lines_alarm = self._lines.state(self.position)
        self._alarm = min(alarm, lines_alarm)
        if lines != self.crowd.lines:
            self.crowd = self._crowds.lined(self.crowd, lines)

    def _end_spent(self) -> int:
        """End what has reached its pattern's width. Returns where that happens next."""
        gone: set[tuple[int, Member]] = set()
        alarm = FAR
        for slot, (run, members) in enumerate(zip(self._runs, self.crowd.slots, strict=True)):
            for member in members:
                width = member.machine.max_width
                if width is None:
                    continue
                if self.position - run[2] > width:
                    gone.add((slot, member))
                else:
                    alarm = min(alarm, run[2] + width + 1)
        if gone:
            self._change(self._crowds.left(self.crowd, gone))
        return alarm
