"""Who stands where in a crowd that is being worked out."""

from __future__ import annotations

from typing import Final

from app.moderation.crowd import Claim, Counting, Member, Slots, Waiting, Waitings
from app.moderation.machine import CharClass, Machine

# Of one pattern; one more, and the last two are followed as one. The shipped policy's patterns have up to nine.
MOST_RUNS: Final = 24


class Standing:
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


def begin_lines(lines: list[Waiting], counting: list[Counting]) -> None:
    """The first that counts makes a line."""
    for machine, _slot, _point, counter, count in counting:
        if all(waiting.counter is not counter for waiting in lines):
            due = not machine.open_counters or count >= counter.least
            lines.append(Waiting(machine, counter, due))


def claims_of(slots: Slots, lines: Waitings, behind: CharClass) -> tuple[Claim, ...]:
    """What is a match now."""
    claims: list[Claim] = []
    for number, members in enumerate(slots):
        for machine, point, checked in members:
            if point.accepts and not is_claimed(claims, machine):
                claims.append(Claim(machine, number, None, checked))
    for machine, counter, due in lines:
        if due and machine.after(counter, behind).accepts:
            claims.append(Claim(machine, -1, counter, True))
    return tuple(claims)


def is_claimed(claims: list[Claim], machine: Machine) -> bool:
    """Whether an earlier match of the machine stands for all that end with it."""
    return machine.merges and any(claim.machine is machine for claim in claims)


def carried(claims: tuple[Claim, ...], later: tuple[Claim, ...], kept: tuple[int, ...]) -> bool:
    """Whether each match still is one with the next character, from the same beginning. `kept`: the old slots."""
    standing = {claim._replace(slot=kept[claim.slot] if claim.slot >= 0 else -1) for claim in later}
    return standing.issuperset(claims)
