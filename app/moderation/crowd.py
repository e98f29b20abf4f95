"""The runs of one pattern that are under way at once, followed as one: each crowd and each move is found once.

What a character costs thus hardly depends on how many runs there are, and never on the text before: more than
`MOST_RUNS` are not kept apart, and runs that only count characters are not in the crowd at all (see `lane`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from app.moderation.machine import CharClass, Machine, Point

# Of one pattern; one more, and the last two are followed as one. The shipped policy's patterns have up to nine.
MOST_RUNS: Final = 16
_MEMO_LIMIT = 1 << 12  # crowds of a machine; past it they are forgotten, and found again


class Move(NamedTuple):
    """What the next character does to a crowd. Numbers are places in it.

    `kept`: the runs that stand in the next crowd, in this order. `merged`: (place in the next crowd, run that
    ends there as well). `early`: runs of which the text before the character is a match. `counting`: runs that
    only count from here on, and their points. `plain`: all go on and nothing is found. `over`: all end,
    and nothing is found.
    """

    crowd: Crowd
    plain: bool
    over: bool
    kept: tuple[int, ...]
    merged: tuple[tuple[int, int], ...]
    early: tuple[int, ...]
    counting: tuple[tuple[int, Point], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """`points`: where the runs stand, in the order of their beginnings. `accepting`: those that are a match now;
    only the first of them where it covers the others."""

    points: tuple[Point, ...]
    accepting: tuple[int, ...]
    moves: dict[CharClass, Move] = field(default_factory=dict)
    joined: dict[Point, Crowd] = field(default_factory=dict)  # with one more run at the end

    def __repr__(self) -> str:
        return f"<Crowd of {len(self.points)}>"


class Crowds:
    """The crowds of one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._known: dict[tuple[Point, ...], Crowd] = {}
        self.nobody = Crowd((), ())

    def of(self, points: tuple[Point, ...]) -> Crowd:
        if not points:
            return self.nobody
        crowd = self._known.get(points)
        if crowd is None:
            if len(self._known) >= _MEMO_LIMIT:
                self._known.clear()
                self.nobody.joined.clear()
            accepting = tuple(place for place, point in enumerate(points) if point.accepts)
            crowd = self._known.setdefault(points, Crowd(points, self._earliest(accepting)))
        return crowd

    def join(self, crowd: Crowd, point: Point) -> Crowd:
        known = crowd.joined.get(point)
        if known is None:
            known = crowd.joined[point] = self.of((*crowd.points, point))
        return known

    def move(self, crowd: Crowd, ahead: CharClass) -> Move:
        known = crowd.moves.get(ahead)
        if known is None:
            known = crowd.moves[ahead] = self._move(crowd, ahead)
        return known

    def __repr__(self) -> str:
        return f"<Crowds {len(self._known)} of {self.machine!r}>"

    def _move(self, crowd: Crowd, ahead: CharClass) -> Move:
        kept: list[int] = []
        points: list[Point] = []
        merged: list[tuple[int, int]] = []
        early: list[int] = []
        counting: list[tuple[int, Point]] = []
        for number, point in enumerate(crowd.points):
            following, accepted = self.machine.step(point, ahead)
            if accepted and not point.accepts:
                early.append(number)
            if following is None:
                continue
            if following.counted:
                counting.append((number, following))
            elif self.machine.merges and following in points:
                merged.append((points.index(following), number))
            else:
                kept.append(number)
                points.append(following)
        following_crowd = self.of(tuple(points))
        return Move(
            crowd=following_crowd,
            plain=len(kept) == len(crowd.points) and not early and not following_crowd.accepting,
            over=not kept and not early and not counting,
            kept=tuple(kept),
            merged=tuple(merged),
            early=self._earliest(tuple(early)),
            counting=tuple(counting),
        )

    def _earliest(self, accepting: tuple[int, ...]) -> tuple[int, ...]:
        return accepting[:1] if self.machine.merges else accepting
