"""The crowds of one policy and their moves, found as texts need them."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

from app.moderation.crowd import (
    FAR,
    Change,
    Claim,
    Counting,
    Crowd,
    Effect,
    Member,
    Move,
    Runs,
    Slots,
    Step,
    Waiting,
    Waitings,
)
from app.moderation.machine import EDGE_CLASS, CharClass, Machine, Point
from app.moderation.policy import BLOCK, TIERS
from app.moderation.standing import Standing, begin_lines, carried, claims_of, is_claimed

# Crowds and moves that are remembered; past it all are forgotten, and found again. Random texts of what is dear to
# the shipped policy come to 6,000 and 10,000.
_CROWDS: Final = 1 << 14
_MOVES: Final = 1 << 16
_TIERS: Final = sorted(set(TIERS.values()))

STOP: Final[Effect] = (None, -1, None)  # the character is not taken by a step
REST: Final[Effect] = (None, 0, None)  # nothing is under way behind it, as before it

Begin = Callable[[CharClass, CharClass], tuple[tuple[Machine, Point], ...]]


class Crowds:
    def __init__(self, begins: Begin) -> None:
        self._begins = begins
        self._known: dict[tuple[Slots, Waitings, CharClass, bool], Crowd] = {}
        self._moves = 0
        self.nobody = self.of((), (), EDGE_CLASS, False)

    def of(self, slots: Slots, lines: Waitings, behind: CharClass, spaced: bool) -> Crowd:
        key = slots, lines, behind, spaced
        crowd = self._known.get(key)
        if crowd is None:
            if len(self._known) >= _CROWDS:
                self._forget()
            claims = claims_of(slots, lines, behind)
            crowd = Crowd(
                *key,
                idle=not slots and not lines,
                narrow=any(m.machine.max_width is not None for members in slots for m in members),
                checks=any(m.machine.verify for members in slots for m in members)
                or any(waiting.machine.verify for waiting in lines),
                firsts=tuple(_first(slots, tier) for tier in _TIERS),
                waiting=tuple(tuple(w.counter for w in lines if w.machine.tier == tier) for tier in _TIERS),
                claims=claims,
                lasting=all(c.machine.verify is None and c.machine.tier != BLOCK for c in claims),
            )
            crowd.steps[None] = crowd.steps, crowd, STOP
            crowd = self._known.setdefault(key, crowd)
        return crowd

    def move(self, crowd: Crowd, ahead: CharClass, seen: CharClass) -> Move:
        """`seen`: what a character of class `ahead` is once it is behind."""
        known = crowd.moves.get(ahead)
        if known is None:
            self._count()
            known = self._move(crowd, ahead, seen)
            crowd.steps[ahead] = _step(crowd, known, ahead)
            crowd.moves[ahead] = known
        return known

    def enter(self, crowd: Crowd, machine: Machine, point: Point, slot: int, new: bool) -> Change:
        """One more, in that slot; `new`: in one that is put in before it. `pick` and `merged` count it already."""
        key = machine, point, slot, new
        known = crowd.entered.get(key)
        if known is None:
            self._count()
            slots, member = [*crowd.slots], Member(machine, point)
            if new:
                slots.insert(slot, (member,))
            else:
                slots[slot] = (*slots[slot], member)
            standing = Standing()
            for number, members in enumerate(slots):
                for one in members:
                    standing.add(number, one)
            known = crowd.entered[key] = self._change(standing, len(slots), crowd.lines, crowd)
        return known

    def lined(self, crowd: Crowd, lines: Waitings) -> Crowd:
        """The same with other lines."""
        known = crowd.lined.get(lines)
        if known is None:
            self._count()
            known = crowd.lined[lines] = self.of(crowd.slots, lines, crowd.behind, crowd.spaced)
        return known

    def left(self, crowd: Crowd, gone: set[tuple[int, Member]]) -> Change:
        """What is left without some members, given with their slots."""
        standing = Standing()
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

    def _change(self, standing: Standing, count: int, lines: Waitings, after: Crowd) -> Change:
        kept = tuple(sorted(standing.slots))
        crowd = self.of(standing.in_order(kept), lines, after.behind, after.spaced)
        return Change(crowd, _picker(kept, count), tuple(standing.merged))

    def _move(self, crowd: Crowd, ahead: CharClass, seen: CharClass) -> Move:
        standing = Standing()
        early: list[Claim] = []
        counting: list[Counting] = []
        for number, members in enumerate(crowd.slots):
            for machine, point, checked in members:
                following, accepted = machine.step(point, ahead)
                if accepted and not point.accepts and not is_claimed(early, machine):
                    early.append(Claim(machine, number, None, checked))
                if following is not None and following.counted is not None:
                    counting.append(Counting(machine, number, following, *following.counted))
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
        begin_lines(lines, counting)
        kept = tuple(sorted(standing.slots))
        following_crowd = self.of(standing.in_order(kept), tuple(lines), seen, ahead.space)
        return Move(
            Change(following_crowd, _picker(kept, count + bool(begun)), tuple(standing.merged)),
            begins=bool(begun),
            width=min((machine.max_width or FAR for machine, _point in begun), default=0),
            early=tuple(early),
            counting=tuple(counting),
            leaving=tuple(leaving),
            over=over,
            plain=not (counting or leaving or over),
            carries=carried(crowd.claims, following_crowd.claims, kept),
        )


def _first(slots: Slots, tier: int) -> int | None:
    return next((n for n, members in enumerate(slots) if any(m.machine.tier == tier for m in members)), None)


def _picker(kept: tuple[int, ...], count: int) -> Callable[[Runs], Runs] | None:
    """Takes the kept ones of so many."""
    if len(kept) == count:
        return None
    first = kept[0] if kept else 0
    row = kept == tuple(range(first, first + len(kept)))
    pick: Any = itemgetter(slice(first, first + len(kept))) if row else itemgetter(*kept)
    return pick  # type: ignore[no-any-return]


def _step(crowd: Crowd, move: Move, ahead: CharClass) -> Step:
    """The move in short, if it notes no match."""
    following, pick, merged = move.change
    if move.early or not following.lasting or not crowd.lasting or (ahead.space and crowd.spaced):
        return crowd.steps, crowd, STOP
    if merged or not move.plain or not move.carries:
        return following.steps, following, (None, 0 if move.carries else 1, move)
    if pick is not None or move.begins:
        return following.steps, following, (pick, move.width, None)
    return following.steps, following, REST if following.idle else None
