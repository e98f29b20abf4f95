"""All that is under way in one text: its crowd, and where each of the crowd's slots and lines began."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Final

from app.moderation.crowd import FAR, Change, Claim, Crowd, Member, Move, Run, Runs
from app.moderation.crowds import STOP, Crowds
from app.moderation.lines import NO_PLACE, Lines
from app.moderation.machine import CharClass, Kinds, Machine, Point
from app.moderation.match import Match
from app.moderation.program import Counter

_MANY: Final = 12  # characters for which it is worth to see whether they are the same


class Underway:
    """`position`: folded characters taken. `claimed`: all that the crowd claims has been noted by the owner. `stopped`:
    the last stride ended before a character of which there is more to be said."""

    __slots__ = (
        "_add",
        "_alarm",
        "_crowds",
        "_kind",
        "_lines",
        "_runs",
        "claimed",
        "crowd",
        "position",
        "stopped",
    )

    def __init__(self, crowds: Crowds, kinds: Kinds, add: Callable[[Match], None]) -> None:
        self.crowd = crowds.nobody
        self.position = 0
        self.claimed = True
        self.stopped = False
        self._add = add
        self._crowds = crowds
        self._kind = kinds.__getitem__
        self._runs: Runs = ()  # of the crowd's slots
        self._lines = Lines()
        self._alarm = FAR  # no line and no width changes the crowd before this position

    def stride(self, text: str, index: int, end: int, at: int, pause: bool) -> int:
        """Take characters of `text[index:end]`, the first at a raw position, while each folds to one and no match need
        be checked. Returns how many. With `pause` it ends where nothing is under way.

        This is where a dear text is kept cheap: most characters cost two look-ups.
        """
        position = self.position
        alarm = self._alarm
        size = alarm - position - 1
        if size > end - index:
            size = end - index
        elif not size and self.claimed:
            size = 1  # over the alarm, by itself, as no match can be lost by it
        limit = position + size
        taken = 0
        self.stopped = not size
        crowd, runs = self.crowd, self._runs
        steps = crowd.steps
        for taken, kind in enumerate(map(self._kind, text[index : index + size])):
            try:
                following, upcoming, effect = steps[kind]
            except KeyError:
                self.stopped = True
                break
            if effect is not None:
                if effect is STOP:
                    self.stopped = True
                    break
                pick, width, move = effect
                if move is not None:
                    self._runs, self.position = runs, position + taken
                    if width and (taken or not self.claimed):
                        self._note_lasting(crowd, at + taken)
                    self.apply(move, at + taken)
                    upcoming, runs, alarm = self.crowd, self._runs, self._alarm
                    following = upcoming.steps
                    if not upcoming.lasting:
                        crowd = upcoming
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
                        if following is steps and size - taken > _MANY:
                            # The same crowd again. While it is the same character, all but the last ones change
                            # nothing: each slot is of one of them, or stays what it is.
                            again = _repeats(text[index + taken : index + size]) - len(runs)
                            if again > 1:
                                taken += again
                                break
                if alarm <= limit or (pause and upcoming.idle):
                    crowd = upcoming
                    taken += 1
                    break
            steps, crowd = following, upcoming
        else:
            taken = size
        self.crowd, self._runs, self.position = crowd, runs, position + taken
        if taken:
            if self.position >= self._alarm:
                self._ring()
            self.claimed = not self.crowd.claims
        return taken

    def take(self, move: Move, start: int) -> None:
        """Take the next character, folded from the one at a raw position: `move`."""
        self.apply(move, start)
        if self.position >= self._alarm:
            self._ring()
        self.claimed = not self.crowd.claims

    def must_claim(self, move: Move) -> bool:
        """Whether what the crowd claims is lost, or may be, by a move, if it is not noted before."""
        return not self.claimed and (not move.carries or self.position + 1 >= self._alarm)

    def apply(self, move: Move, start: int) -> None:
        (crowd, pick, merged), begins, width, _early, counting, leaving, over, plain, _carries = move
        position = self.position
        runs = old = self._runs
        if begins:
            runs = (*runs, (start, position, position))
            if position + 1 + width < self._alarm:
                self._alarm = position + 1 + width
        if merged:
            runs = _merged(runs, merged)
        self.crowd, self._runs, self.position = crowd, runs if pick is None else pick(runs), position + 1
        if plain:
            return
        lines = self._lines
        leavers = (
            [(m, lines.leaver(counter, position), to) for (m, counter, _due), to in leaving]
            if leaving
            else ()
        )
        for counter in over:
            lines.end(counter)
        for machine, slot, point, counter, count in counting:
            until = lines.add(machine, counter, old[slot], position + 1 - count, position + 1)
            if until == NO_PLACE:
                self._place(machine, old[slot], point)
            elif until < self._alarm:
                self._alarm = until
        for machine, leaver, point in leavers:
            if leaver is not None:
                self._place(machine, leaver, point)

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
        first = None if slot is None else self._runs[slot][0]
        for counter in crowd.waiting[tier]:
            run = self._lines.first(counter, self.position)
            if run is not None and (first is None or run[0] < first):
                first = run[0]
        return first

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

    def run(self, slot: int, counter: Counter | None) -> Run | None:
        """A slot's, or a line's first that has counted enough, if there is one."""
        return self._runs[slot] if counter is None else self._lines.due(counter, self.position)

    def __repr__(self) -> str:
        return f"<Underway {self.crowd!r} {self._lines!r}>"

    def _note_lasting(self, crowd: Crowd, end: int) -> None:
        """Note matches that were certain up to a raw position and end there."""
        for machine, slot, counter, _checked in crowd.claims:
            run = self._runs[slot] if counter is None else self._lines.due(counter, self.position)
            if run is not None:
                self._add(Match(run[0], end, machine.rule))

    def _change(self, change: Change) -> None:
        crowd, pick, merged = change
        runs = _merged(self._runs, merged) if merged else self._runs
        self._runs = runs if pick is None else pick(runs)
        self.crowd = crowd

    def _place(self, machine: Machine, run: Run, point: Point) -> None:
        """A match under way stands in a slot from here on."""
        start, first, newest = run
        runs = self._runs
        slot = bisect_left(runs, (start, first)) if runs else 0
        new = slot == len(runs) or runs[slot][:2] != (start, first)
        if not new:
            run = start, first, max(newest, runs[slot][2])
        self._runs = (*runs[:slot], run, *runs[slot + (not new) :]) if runs else (run,)
        if machine.max_width is not None:
            self._alarm = min(self._alarm, newest + machine.max_width + 1)
        self._change(self._crowds.enter(self.crowd, machine, point, slot, new))

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


def _repeats(text: str) -> int:
    """How often its first character follows at once."""
    return len(text) - len(text.lstrip(text[0])) - 1


def _merged(runs: Runs, merged: tuple[tuple[int, int], ...]) -> Runs:
    """The runs once some stand for others as well."""
    changed = [*runs]
    for slot, other in merged:
        start, first, newest = changed[slot]
        changed[slot] = start, first, max(newest, changed[other][2])
    return tuple(changed)
