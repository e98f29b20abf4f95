"""Patterns: Python's regular-expression syntax, read into states that can be followed a character at a time.

A pattern stands for the set of all texts it matches, so greedy and lazy repeats mean the same here. What has
no such meaning, or cannot be decided one character on (back references, conditionals, atomic groups, wide
lookarounds), is refused by name.
"""

from __future__ import annotations

import re
from dataclasses import replace
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Final

from app.moderation.charsets import CharSets, Items, members
from app.moderation.fold import fold_char
from app.moderation.program import Accept, Boundary, Consume, Counter, Look, Program, Split, State

MAX_STATES: Final = 5_000  # of one pattern, counted repeats written out
_LONG: Final = 17  # characters: what shorter repeats need is cheap to follow written out


def parse(source: str, sets: CharSets) -> Program:
    """Read a pattern. Raises ValueError with what is wrong, without repeating the pattern."""
    try:
        tree = _parser.parse(source, 0)
    except (re.error, OverflowError, RecursionError) as error:
        # The parser's own message quotes the pattern; a policy's words stay out of errors and logs.
        position = error.pos if isinstance(error, re.error) else None
        where = "too large" if position is None else f"at position {position}"
        raise ValueError(f"is no regular expression ({where})") from None
    builder = _Builder(sets, dotall=bool(tree.state.flags & re.DOTALL))
    accept = builder.add(Accept())
    start = builder.sequence(tree, accept)
    narrowest, widest = tree.getwidth()
    if narrowest == 0:
        raise ValueError("matches the empty text")
    return Program(
        tuple(builder.states), start, narrowest, None if widest >= _UNBOUNDED else widest, builder.counters
    )


_UNBOUNDED: Final = 1 << 24  # the parser saturates an unbounded width far above this


class _Builder:
    """Builds states from the end backwards: each method returns the state at which its part is entered."""

    def __init__(self, sets: CharSets, dotall: bool) -> None:
        self.states: list[State] = []
        self.counters: dict[int, tuple[Counter, int]] = {}
        self._sets = sets
        self._dotall = dotall

    def add(self, state: State) -> int:
        if len(self.states) >= MAX_STATES:
            raise ValueError(
                f"is too large (more than {MAX_STATES} states once its repeats are written out): "
                "nest fewer counted repeats, or count less"
            )
        self.states.append(state)
        return len(self.states) - 1

    def sequence(self, items: Items, then: int) -> int:
        for code, argument in reversed(list(items)):
            then = self._item(code, argument, then)
        return then

    def _item(self, code: Any, argument: Any, then: int) -> int:
        if code is op.LITERAL:
            return self._literal(chr(argument), then)
        if code in (op.NOT_LITERAL, op.IN, op.ANY):
            return self.add(Consume(self._set(code, argument), then))
        if code is op.SUBPATTERN:
            _group, added, _removed, body = argument
            if added & ~re.IGNORECASE:
                raise ValueError("uses flags inside the pattern")
            return self.sequence(body, then)
        if code is op.BRANCH:
            return self.add(Split(tuple(self.sequence(branch, then) for branch in argument[1])))
        if code in (op.MAX_REPEAT, op.MIN_REPEAT):
            return self._repeat(argument, then)
        if code is op.AT:
            return self._at(argument, then)
        if code in (op.ASSERT, op.ASSERT_NOT):
            return self._look(code is op.ASSERT, argument, then)
        raise ValueError(
            f"uses {_NAMES.get(str(code), str(code).lower())}, which cannot be matched in a stream"
        )

    def _literal(self, char: str, then: int) -> int:
        folded = fold_char(char)
        if not folded:
            raise ValueError("contains a character that folding removes, so it can never match")
        for part in reversed(folded):
            accepts = part.__eq__
            then = self.add(Consume(self._sets.number(f"={part}", accepts, part), then))
        return then

    def _repeat(self, argument: Any, then: int) -> int:
        least, most, body = argument
        entry = then
        if most is op.MAXREPEAT:
            entry = self.add(Split(()))
            self.states[entry] = Split((self.sequence(body, entry), then))
            places = [entry]
            for _ in range(least):
                places.append(self.sequence(body, places[-1]))
            if least >= _LONG:
                self._note_counter(places, Counter(-1, least, None, frozenset({then})))
            return places[-1]
        places = [then]  # the last first
        for _ in range(most - least):
            places.append(self.add(Split((self.sequence(body, places[-1]), then))))
        for _ in range(least):
            places.append(self.sequence(body, places[-1]))
        if least and most >= _LONG:
            self._note_counter(places[1:], Counter(-1, least, most, frozenset({then})))
        return places[-1]

    def _note_counter(self, places: list[int], counter: Counter) -> None:
        """`places`: the states that have counted, those that have counted most first."""
        entry = self.states[places[-1]]
        if isinstance(entry, Consume) and (len(places) < 2 or entry.then == places[-2]):
            counter = replace(counter, chars=entry.chars)
            self.counters.update((state, (counter, count)) for count, state in enumerate(reversed(places)))

    def _at(self, where: Any, then: int) -> int:
        if where in (op.AT_BOUNDARY, op.AT_NON_BOUNDARY):
            return self.add(Boundary(where is op.AT_BOUNDARY, then))
        behind = where in (op.AT_BEGINNING, op.AT_BEGINNING_STRING)
        return self.add(Look(behind, None, True, then))

    def _look(self, wanted: bool, argument: Any, then: int) -> int:
        direction, body = argument
        items = list(body)
        if len(items) != 1 or items[0][0] not in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
            raise ValueError("looks around at more than one character")
        chars = self._set(*items[0])
        return self.add(Look(direction < 0, chars, wanted, then))

    def _set(self, code: Any, argument: Any) -> int:
        accepts, samples = members(code, argument)
        return self._sets.number(f"{code} {argument} {self._dotall}", accepts, samples)


_NAMES: Final = {
    "GROUPREF": "a back reference",
    "GROUPREF_EXISTS": "a conditional group",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive repeat",
}
