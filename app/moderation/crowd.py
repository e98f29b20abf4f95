"""All that is under way in a text, of all patterns together, followed as one automaton: its states are `Crowd`s.

A crowd says which patterns stand where, for each place where a match may have begun, but not where these places
are: a text knows them by their order. So few crowds cover all texts; each, and each of its moves, is worked out once
and then shared by all texts. What a character costs thus hardly depends on how much is under way.
Matches that only count characters are not in the slots: they wait in lines (see `Scanner`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from app.moderation.machine import EDGE_CLASS, CharClass, Machine, Point
from app.moderation.policy import BLOCK, TIERS
from app.moderation.syntax import Counter

# Of one pattern; one more, and the last two are followed as one. The shipped policy's patterns have up to nine.
MOST_RUNS: Final = 24
FAR: Final = 1 << 62  # a position that no text reaches
# Crowds and moves that are remembered; past it all are forgotten, and found again. Random texts of what is dear to
# the shipped policy come to 6,000 and 10,000.
_CROWDS: Final = 1 << 14
_MOVES: Final = 1 << 16

Begin = Callable[[CharClass, CharClass], tuple[tuple[Machine, Point], ...]]


class Member(NamedTuple):
    machine: Machine
    point: Point
    checked: bool = True  # whether its text is the whole of a possible match; else it counts as verified


class Waiting(NamedTuple):
    """A line of matches that count. `due`: the first in it has counted enough, so that it may leave."""

    machine: Machine
    counter: Counter
    due: bool


class Claim(NamedTuple):
    """A match: of a slot, or of the first in a line."""

    machine: Machine
    slot: int
    counter: Counter | None
    checked: bool


class Counting(NamedTuple):
    """What is in a slot counts from here on, at `point`."""

    machine: Machine
    slot: int
    point: Point


Slots = tuple[tuple[Member, ...], ...]
Lines = tuple[Waiting, ...]


class Change(NamedTuple):
    """Another crowd. `kept`: the old slots that stand in it, in this order; None: all. `merged`: (old slot, other)
    where the second's matches are covered by the first's from now on."""

    crowd: Crowd
    kept: tuple[int, ...] | None
    merged: tuple[tuple[int, int], ...]


class Move(NamedTuple):
    """What the next character does to a crowd. A slot in which something begins comes after all others.

    `early`: matches of the text before the character. `counting`: what counts from here on; its line, and that of a
    leaver that counts on, stands in the new crowd already. `leaving`: lines whose first goes on at a point.
    `carries`: what was a match still is one.
    """

    change: Change
    begins: bool
    width: int  # of the narrowest pattern that begins
    early: tuple[Claim, ...]
    counting: tuple[Counting, ...]
    leaving: tuple[tuple[Waiting, Point], ...]
    over: tuple[Counter, ...]
    plain: bool  # no line takes part in it
    carries: bool


# The moves of nearly every character, with as little to look at as possible: the crowd that follows and its own
# such moves, the old slots that are kept (None: all), and the width of what begins (0: nothing does).
Step = tuple[dict[CharClass, "Step"], "Crowd", tuple[int, ...] | None, int]


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """`slots`: what is under way, by its beginning, the earliest first. `behind`: the last character, `spaced`:
    whether it is a space. `firsts`: tier -> the first slot with something of that tier. `waiting`: the same for
    lines. `claims`: what is a match now; `lasting`: it need be noted only once it is over."""

    slots: Slots
    lines: Lines
    behind: CharClass
    spaced: bool
    idle: bool
    narrow: bool  # something in a slot may have only so many characters
    firsts: tuple[int | None, ...]
    waiting: tuple[tuple[Counter, ...], ...]
    claims: tuple[Claim, ...]
    lasting: bool
    moves: dict[CharClass, Move] = field(default_factory=dict)
    steps: dict[CharClass, Step] = field(default_factory=dict)  # of those moves that ask for nothing else
    entered: dict[tuple[Member, int, bool], Change] = field(default_factory=dict)
    lined: dict[Lines, Crowd] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Crowd of {sum(map(len, self.slots))} in {len(self.slots)} slots, {len(self.lines)} lines>"


class Crowds:
    """The crowds of one policy, found as texts need them."""

    def __init__(self, begins: Begin) -> None:
        self._begins = begins
        self._known: dict[tuple[Slots, Lines, CharClass, bool], Crowd] = {}
        self._moves = 0
        self.nobody = self.of((), (), EDGE_CLASS, False)

    def of(self, slots: Slots, lines: Lines, behind: CharClass, spaced: bool) -> Crowd:
        key = slots, lines, behind, spaced
        crowd = self._known.get(key)
        if crowd is None:
            if len(self._known) >= _CROWDS:
                self._forget()
            claims = _claims(slots, lines, behind)
            crowd = Crowd(
                *key,
                idle=not slots and not lines,
                narrow=any(m.machine.max_width is not None for members in slots for m in members),
                firsts=tuple(_first(slots, tier) for tier in _TIERS),
                waiting=tuple(tuple(w.counter for w in lines if w.machine.tier == tier) for tier in _TIERS),
                claims=claims,
                lasting=all(c.machine.verify is None and c.machine.tier != BLOCK for c in claims),
            )
            crowd = self._known.setdefault(key, crowd)
        return crowd

    def move(self, crowd: Crowd, ahead: CharClass, seen: CharClass) -> Move:
        """`seen`: what a character of class `ahead` is once it is behind."""
        known = crowd.moves.get(ahead)
        if known is None:
            self._count()
            known = self._move(crowd, ahead, seen)
            step = _step(crowd, known, ahead)
            if step is not None:
                crowd.steps[ahead] = step
            crowd.moves[ahead] = known
        return known

    def enter(self, crowd: Crowd, member: Member, slot: int, new: bool) -> Change:
        """One more, in that slot; `new`: in one that is put in before it. `kept` and `merged` count it already."""
        key = member, slot, new
        known = crowd.entered.get(key)
        if known is None:
            self._count()
            slots = [*crowd.slots]
            if new:
                slots.insert(slot, (member,))
            else:
                slots[slot] = (*slots[slot], member)
            standing = _Standing()
            for number, members in enumerate(slots):
                for one in members:
                    standing.add(number, one)
            known = crowd.entered[key] = self._change(standing, len(slots), crowd.lines, crowd)
        return known

    def lined(self, crowd: Crowd, lines: Lines) -> Crowd:
        """The same with other lines."""
        known = crowd.lined.get(lines)
        if known is None:
            self._count()
            known = crowd.lined[lines] = self.of(crowd.slots, lines, crowd.behind, crowd.spaced)
        return known

    def left(self, crowd: Crowd, gone: set[tuple[int, Member]]) -> Change:
        """What is left without some members, given with their slots."""
        standing = _Standing()
        for number, members in enumerate(crowd.slots):
            for member in members:
                if (number, member) not in gone:
                    standing.add(number, member)
        return self._change(standing, len(crowd.slots), crowd.lines, crowd)

    def __repr__(self) -> str:
        return f"<Crowds {len(self._known)}>"

    def _count(self) -> None:
        self._moves += 1
        if self._moves >= _MOVES:
            self._forget()

    def _forget(self) -> None:
        # Their moves, too: whoever stands in one of them shall not keep all others alive.
        for crowd in [*self._known.values()]:
            crowd.moves.clear()
            crowd.steps.clear()
            crowd.entered.clear()
            crowd.lined.clear()
        self._known.clear()
        self._moves = 0

    def _change(self, standing: _Standing, count: int, lines: Lines, after: Crowd) -> Change:
        kept = tuple(sorted(standing.slots))
        crowd = self.of(standing.in_order(kept), lines, after.behind, after.spaced)
        return Change(crowd, None if len(kept) == count else kept, tuple(standing.merged))

    def _move(self, crowd: Crowd, ahead: CharClass, seen: CharClass) -> Move:
        standing = _Standing()
        early: list[Claim] = []
        counting: list[Counting] = []
        for number, members in enumerate(crowd.slots):
            for machine, point, checked in members:
                following, accepted = machine.step(point, ahead)
                if accepted and not point.accepts and not _claimed(early, machine):
                    early.append(Claim(machine, number, None, checked))
                if following is not None and following.counted:
                    counting.append(Counting(machine, number, following))
                elif following is not None:
                    standing.add(number, Member(machine, following, checked))
        begun = self._begins(crowd.behind, ahead)
        count = len(crowd.slots)
        for machine, point in begun:
            standing.add(count, Member(machine, point))
        lines: list[Waiting] = []
        leaving: list[tuple[Waiting, Point]] = []
        for waiting in crowd.lines:
            machine, counter, due = waiting
            if due:
                left, accepted = machine.leave(counter, crowd.behind, ahead)
                if accepted:
                    early.append(Claim(machine, -1, counter, True))
                if left is not None:
                    leaving.append((waiting, left))
            if ahead.members[counter.chars]:
                lines.append(waiting)
        over = tuple(waiting.counter for waiting in crowd.lines if waiting not in lines)
        starting = [(one.machine, one.point) for one in counting]
        starting += [(waiting.machine, left) for waiting, left in leaving]
        _begin_lines(lines, starting)
        kept = tuple(sorted(standing.slots))
        following_crowd = self.of(standing.in_order(kept), tuple(lines), seen, ahead.space)
        whole = len(kept) == count + bool(begun)
        return Move(
            Change(following_crowd, None if whole else kept, tuple(standing.merged)),
            begins=bool(begun),
            width=min((machine.max_width or FAR for machine, _point in begun), default=0),
            early=tuple(early),
            counting=tuple(counting),
            leaving=tuple(leaving),
            over=over,
            plain=not (counting or leaving or over),
            carries=_carries(crowd.claims, following_crowd.claims, kept),
        )


_TIERS: Final = sorted(set(TIERS.values()))


class _Standing:
    """Members gathered into slots, in the order of their beginnings."""

    def __init__(self) -> None:
        self.slots: dict[int, list[Member]] = {}
        self.merged: list[tuple[int, int]] = []
        self._places: dict[Machine, list[int]] = {}  # slots in which the machine stands

    def add(self, slot: int, member: Member) -> None:
        machine = member.machine
        places = self._places.setdefault(machine, [])
        if places and places[-1] == slot:
            self._unite(machine, slot, slot, member)  # the same beginning: either's match is the slot's
            return
        if machine.merges:
            for place in places:
                if member.point.kernel <= self._of(machine, place).point.kernel:
                    self._merge(machine, place, slot)
                    return
        if len(places) == MOST_RUNS:
            # Followed as one from the earlier's beginning: what either finds is covered, and maybe more.
            self._unite(machine, places[-1], slot, member._replace(checked=machine.merges))
            return
        places.append(slot)
        self.slots.setdefault(slot, []).append(member)

    def in_order(self, slots: tuple[int, ...]) -> Slots:
        return tuple(tuple(self.slots[slot]) for slot in slots)

    def _of(self, machine: Machine, slot: int) -> Member:
        return next(member for member in self.slots[slot] if member.machine is machine)

    def _unite(self, machine: Machine, slot: int, other: int, member: Member) -> None:
        known = self._of(machine, slot)
        point = machine.union(known.point, member.point)
        united = Member(machine, point, known.checked and member.checked)
        self.slots[slot] = [united if one is known else one for one in self.slots[slot]]
        self._merge(machine, slot, other)

    def _merge(self, machine: Machine, slot: int, other: int) -> None:
        if machine.max_width is not None and slot != other:
            self.merged.append((slot, other))


def _begin_lines(lines: list[Waiting], starting: list[tuple[Machine, Point]]) -> None:
    """The first that counts makes a line."""
    for machine, point in starting:
        if point.counted is not None:
            counter, count = point.counted
            if all(waiting.counter is not counter for waiting in lines):
                lines.append(Waiting(machine, counter, count >= counter.least))


def _claimed(claims: list[Claim], machine: Machine) -> bool:
    """Whether an earlier match of the machine stands for all that end with it."""
    return machine.merges and any(claim.machine is machine for claim in claims)


def _claims(slots: Slots, lines: Lines, behind: CharClass) -> tuple[Claim, ...]:
    claims: list[Claim] = []
    for number, members in enumerate(slots):
        for machine, point, checked in members:
            if point.accepts and not _claimed(claims, machine):
                claims.append(Claim(machine, number, None, checked))
    for machine, counter, due in lines:
        if due and machine.after(counter, behind).accepts:
            claims.append(Claim(machine, -1, counter, True))
    return tuple(claims)


def _first(slots: Slots, tier: int) -> int | None:
    return next((n for n, members in enumerate(slots) if any(m.machine.tier == tier for m in members)), None)


def _carries(claims: tuple[Claim, ...], later: tuple[Claim, ...], kept: tuple[int, ...]) -> bool:
    """Whether each match still is one with the next character, from the same beginning."""
    standing = {claim._replace(slot=kept[claim.slot] if claim.slot >= 0 else -1) for claim in later}
    return standing.issuperset(claims)


def _step(crowd: Crowd, move: Move, ahead: CharClass) -> Step | None:
    """The move in short, if it asks for nothing but to follow the slots."""
    following, kept, merged = move.change
    if merged or move.early or move.counting or move.leaving or move.over:
        return None
    if ahead.space and crowd.spaced:
        return None
    if not following.lasting or not (move.carries or not crowd.lasting):
        return None
    count = len(crowd.slots)
    if kept is None:
        return following.steps, following, None, move.width
    if move.begins and kept[-1:] != (count,):
        return None
    old = kept[:-1] if move.begins else kept
    return following.steps, following, None if len(old) == count else old, move.width
