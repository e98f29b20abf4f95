"""A pattern as states that can be followed a character at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


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
