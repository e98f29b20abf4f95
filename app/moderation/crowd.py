"""All that is under way in a text, of all patterns together, followed as one automaton: its states are `Crowd`s.

A crowd says which patterns stand where, for each place where a match may have begun, but not where these places
are: a text knows them by their order. So few crowds cover all texts; each, and each of its moves, is worked out once
and then shared by all texts. What a character costs thus hardly depends on how much is under way.
Matches that only count characters are not in the slots: they wait in lines (see `Lines`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from app.moderation.machine import CharClass, Machine, Point
from app.moderation.program import Counter

FAR: Final = 1 << 62  # a position that no text reaches

# Where a match began: raw and folded position. And the folded position where the last one began that was merged
# into it; the pattern's width counts from there.
Run = tuple[int, int, int]
Runs = tuple[Run, ...]


class Member(NamedTuple):
    machine: Machine
    point: Point
    checked: bool = True  # whether its text is the whole of a possible match; else it counts as verified


class Waiting(NamedTuple):
    """A line of matches that count. `due`: the first in it may leave, if it has counted enough; where a match may be
    certain while it still counts, it has."""

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
    """What is in a slot counts from here on, at `point`, where it has counted so many."""

    machine: Machine
    slot: int
    point: Point
    counter: Counter
    counted: int


Slots = tuple[tuple[Member, ...], ...]
Waitings = tuple[Waiting, ...]


class Change(NamedTuple):
    """Another crowd. `pick`: of the old slots' runs those that stand in it; None: all. `merged`: (old slot, other)
    where the second's matches are covered by the first's from now on."""

    crowd: Crowd
    pick: Callable[[Runs], Runs] | None
    merged: tuple[tuple[int, int], ...]


class Move(NamedTuple):
    """What the next character does to a crowd. A slot in which something begins comes after all others.

    `early`: matches of the text before the character. `counting`: what counts from here on; its line stands in the
    new crowd already. `leaving`: lines whose first goes on at a point, if it has counted enough.
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


# What a step asks for besides another crowd: which runs are kept (None: all), and the width of what begins (0: nothing
# does). Or the move, where there is more to it, and whether matches must be noted before it (1; else 0).
Effect = tuple[Callable[[Runs], Runs] | None, int, Move | None]
# A move in short: the steps of the crowd that follows, this crowd, and the effect, if there is any.
Step = tuple[dict[CharClass | None, "Step"], "Crowd", Effect | None]


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """`slots`: what is under way, by its beginning, the earliest first. `behind`: the last character, `spaced`:
    whether it is a space. `firsts`: tier -> the first slot with something of that tier. `waiting`: the same for
    lines. `claims`: what is a match now; `lasting`: it need be noted only once it is over."""

    slots: Slots
    lines: Waitings
    behind: CharClass
    spaced: bool
    idle: bool
    narrow: bool  # something in a slot may have only so many characters
    checks: bool  # matches of something under way must be checked, so their text is needed
    firsts: tuple[int | None, ...]
    waiting: tuple[tuple[Counter, ...], ...]
    claims: tuple[Claim, ...]
    lasting: bool
    moves: dict[CharClass, Move] = field(default_factory=dict)
    # Of all moves that were met, and of a character that has no class of its own.
    steps: dict[CharClass | None, Step] = field(default_factory=dict)
    entered: dict[tuple[Machine, Point, int, bool], Change] = field(default_factory=dict)
    lined: dict[Waitings, Crowd] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Crowd of {sum(map(len, self.slots))} in {len(self.slots)} slots, {len(self.lines)} lines>"
