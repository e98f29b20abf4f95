"""Patterns: Python's regular-expression syntax, read into states that can be followed a character at a time.

A pattern stands for the set of all texts it matches, so greedy and lazy repeats mean the same here. What has
no such meaning, or cannot be decided one character on (back references, conditionals, atomic groups, wide
lookarounds), is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Final

from app.moderation.fold import fold_char, is_word

MAX_STATES: Final = 5_000  # of one pattern, counted repeats written out
_LONG: Final = 17  # characters: what shorter repeats need is cheap to follow written out

Accepts = Callable[[str], bool]
Items = Any  # the parser's own sequences of (opcode, argument)


@dataclass(frozen=True, slots=True)
class Consume:
    """Takes one character of character set number `chars`."""

    chars: int
    then: int


@dataclass(frozen=True, slots=True)
class Look:
    """Goes on without taking a character, if the neighbour of the given side agrees.

    `chars` is a set's number, or None for the text's end on that side; `wanted` False turns it round.
    """

    behind: bool
    chars: int | None
    wanted: bool
    then: int


@dataclass(frozen=True, slots=True)
class Boundary:
    """Goes on where a word begins or ends (`wanted`), or where none does."""

    wanted: bool
    then: int


@dataclass(frozen=True, slots=True)
class Split:
    then: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Accept:
    pass


@dataclass(frozen=True, slots=True, eq=False)
class Counter:
    """A counted repeat of one character set: `least` to `most` characters of set `chars`, then the state `leave`.

    `most` is None where any number may follow.
    """

    chars: int
    least: int
    most: int | None
    leave: frozenset[int]


State = Consume | Look | Boundary | Split | Accept


class CharSets:
    """The distinct character sets of a policy, shared by its patterns; a set is named by its number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.accepts: list[Accepts] = []
        self.samples: set[str] = set(
            "a0_ -\uffff"
        )  # at least one character of each side of each set's borders

    def number(self, key: str, accepts: Accepts, samples: str) -> int:
        known = self._numbers.get(key)
        if known is not None:
            return known
        self._numbers[key] = len(self.accepts)
        self.accepts.append(accepts)
        self.samples.update(samples)
        return self._numbers[key]


@dataclass(frozen=True, slots=True)
class Program:
    """The states of one pattern; widths are in folded characters, `widest` is None where unbounded.

    `counters`: a state that stands for a place within a long counted repeat -> how many characters were counted.
    """

    states: tuple[State, ...]
    start: int
    narrowest: int
    widest: int | None
    counters: dict[int, tuple[Counter, int]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Program {len(self.states)} states>"


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


def either(programs: list[Program]) -> Program:
    """The pattern that matches what any of these does."""
    states: list[State] = []
    starts: list[int] = []
    for program in programs:
        starts.append(program.start + len(states))
        states += [_moved(state, len(states)) for state in program.states]
    states.append(Split(tuple(starts)))
    widths = [program.widest for program in programs if program.widest is not None]
    return Program(
        tuple(states),
        start=len(states) - 1,
        narrowest=min(program.narrowest for program in programs),
        widest=max(widths) if len(widths) == len(programs) else None,
    )


def _moved(state: State, by: int) -> State:
    match state:
        case Accept():
            return state
        case Split(then):
            return Split(tuple(following + by for following in then))
        case _:
            return replace(state, then=state.then + by)


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
        accepts, samples = _members(code, argument)
        return self._sets.number(f"{code} {argument} {self._dotall}", accepts, samples)


_NAMES: Final = {
    "GROUPREF": "a back reference",
    "GROUPREF_EXISTS": "a conditional group",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive repeat",
}


def _members(code: Any, argument: Any) -> tuple[Accepts, str]:
    """Which folded characters a set takes (case plays no part), and sample characters around its borders."""
    if code is op.ANY:
        return (lambda char: True), "\n"
    if code is op.LITERAL:
        return _any_of([(op.LITERAL, argument)])
    if code is op.NOT_LITERAL:
        return _any_of([(op.NEGATE, None), (op.LITERAL, argument)])
    return _any_of(argument)


def _any_of(items: Items) -> tuple[Accepts, str]:
    negated = bool(items) and items[0][0] is op.NEGATE
    spans: list[tuple[int, int]] = []
    tests: list[Accepts] = []
    for code, argument in items:
        if code is op.LITERAL:
            spans.append((argument, argument))
            spans.extend((ord(part), ord(part)) for part in fold_char(chr(argument)))
        elif code is op.RANGE:
            spans.append(argument)
        elif code is op.CATEGORY:
            tests.append(_CATEGORIES[str(argument)])

    def accepts(char: str) -> bool:
        codes = {ord(char), *(ord(cased) for cased in char.upper())} if char.isalpha() else {ord(char)}
        member = any(low <= code <= high for low, high in spans for code in codes)
        return (member or any(test(char) for test in tests)) is not negated

    borders = {code + offset for span in spans for code in span for offset in (-1, 0, 1)}
    samples = "".join(chr(code) for code in borders if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000)
    return accepts, samples + samples.lower()


_CATEGORIES: Final[dict[str, Accepts]] = {
    "CATEGORY_DIGIT": str.isdecimal,
    "CATEGORY_NOT_DIGIT": lambda char: not char.isdecimal(),
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_NOT_SPACE": lambda char: not char.isspace(),
    "CATEGORY_WORD": is_word,
    "CATEGORY_NOT_WORD": lambda char: not is_word(char),
}
