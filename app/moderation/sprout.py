"""A place where matches may have begun, for its first characters: all patterns followed as one.

Most such places come to nothing within a few characters, so a run of its own for each pattern would be wasted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from app.moderation.machine import CharClass, Machine, Point

# Characters. With six, a line of dashes never gets a run of its own, unless a private key follows: it takes 64 lines
# of Python a character (tests/app/moderation/test_cost.py), 103 with three. Other texts take up to a tenth more.
_RIPE: Final = 6

Begun = tuple[tuple[Machine, Point], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Sprout:
    """`begun`: where each pattern's run stands. `ripe`: from here on they are followed each by itself.

    Before that no match can end. `rules`: tier -> the first rule that may find something here.
    """

    begun: Begun
    ripe: bool
    size: int  # characters
    rules: dict[int, int]
    moves: dict[CharClass, Sprout | None] = field(default_factory=dict)

    def move(self, ahead: CharClass) -> Sprout | None:
        """With one more character, if anything is left then; only while not ripe."""
        if ahead not in self.moves:
            steps = ((machine, machine.step(point, ahead)[0]) for machine, point in self.begun)
            self.moves[ahead] = sprout(
                tuple((m, point) for m, point in steps if point is not None), self.size + 1
            )
        return self.moves[ahead]

    def __repr__(self) -> str:
        return f"<Sprout of {len(self.begun)} size={self.size}>"


def sprout(begun: Begun, size: int = 1) -> Sprout | None:
    begun = tuple((m, point) for m, point in begun if m.max_width is None or size <= m.max_width)
    if not begun:
        return None
    rules: dict[int, int] = {}
    for machine, _point in begun:
        rules[machine.tier] = min(machine.rule, rules.get(machine.tier, machine.rule))
    ripe = size >= _RIPE or any(point.accepts or machine.may_end(point) for machine, point in begun)
    return Sprout(begun, ripe, size, rules)
