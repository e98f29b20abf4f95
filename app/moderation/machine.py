"""Following a pattern one character at a time, its deterministic states found as they are needed.

A text may have several runs under way, one for each place where a match may have begun; a run is a `Point`.
Characters are told apart only as far as the policy's patterns do: by their class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from app.moderation.charsets import CharSets
from app.moderation.fold import FoldTable, is_word
from app.moderation.program import Accept, Boundary, Consume, Counter, Look, Program, Split

_YOUNG: Final = 4  # characters counted by stepping; most of what begins like a key has ended by then
_MEMO_LIMIT = 1 << 15  # entries of a memo; past it the work is done again instead


@dataclass(frozen=True, slots=True, eq=False)
class CharClass:
    """Characters that no pattern and no word boundary tells apart; compared by identity.

    `members[n]`: whether they are in character set `n`. `word`: whether they belong to words. `space`: the space.
    """

    members: tuple[bool, ...]
    word: bool
    space: bool = False


# The class of what is before the first and after the last character, and of a neighbour about which it shall
# be supposed that every lookaround agrees.
EDGE_CLASS: Final = CharClass((), False)
_ANY: Final = CharClass((), False)


class Classes(dict[str, CharClass]):
    """Character -> class, filled as characters are met, also by several threads at once.

    `seen`: class -> one that stands for all that are the same once they are behind: no lookbehind, into one of the
    sets `looks`, and no word boundary tells them apart.
    """

    def __init__(self, sets: CharSets, looks: set[int]) -> None:
        super().__init__()
        self.seen: dict[CharClass, CharClass] = {EDGE_CLASS: EDGE_CLASS}
        self._accepts = sets.accepts
        self._looks = sorted(looks)
        self._known: dict[tuple[bool, ...], CharClass] = {}
        self._alike: dict[tuple[bool, ...], CharClass] = {}
        self.samples = list(dict.fromkeys(self[char] for char in sorted(sets.samples)))

    def __missing__(self, char: str) -> CharClass:
        members = tuple(accepts(char) for accepts in self._accepts)
        word, space = is_word(char), char == " "
        # One step, so that two threads cannot give one class two identities.
        found = self._known.setdefault((*members, word, space), CharClass(members, word, space))
        alike = (*(members[chars] for chars in self._looks), word)
        self.seen[found] = self._alike.setdefault(alike, found)
        if len(self) < _MEMO_LIMIT:
            self[char] = found
        return found

    def __repr__(self) -> str:
        return f"<Classes {len(self._known)}>"


class Kinds(dict[str, CharClass | None]):
    """Raw character -> the class of the one it folds to; None where it folds to none, or to several."""

    def __init__(self, fold: FoldTable, classes: Classes) -> None:
        super().__init__()
        self._fold = fold
        self._classes = classes

    def __missing__(self, char: str) -> CharClass | None:
        folded = self._fold[char]
        kind = self._classes[folded] if len(folded) == 1 else None
        if len(self) < _MEMO_LIMIT:
            self[char] = kind
        return kind

    def __repr__(self) -> str:
        return f"<Kinds {len(self)} characters>"


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """Where a run stands: the states it may be in after a character of class `behind`.

    `accepts`: the text so far is a match, whatever follows. `counted`: the counter in which the run is, if it is
    nowhere else, and how many characters it has counted; the first few are not said. `steps` is a memo: class of the
    next character -> (the point reached, or None where the run ends; whether the text before it is a match).
    """

    kernel: frozenset[int]
    behind: CharClass
    accepts: bool
    counted: tuple[Counter, int] | None
    steps: dict[CharClass, tuple[Point | None, bool]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Point {len(self.kernel)} states accepts={self.accepts}>"


@dataclass(frozen=True, slots=True)
class Span:
    """What `Machine` was compiled for: the rule's number, the hold it needs, its check and its width.

    `merges`: of two runs that end together the earlier's match stands for both, its check included.
    """

    rule: int
    tier: int
    verify: Callable[[str], bool] | None
    merges: bool
    max_width: int | None  # set for patterns that are unbounded by themselves


class Machine:
    """One pattern, run from any place of a text."""

    def __init__(self, program: Program, classes: Classes, span: Span) -> None:
        self.rule = span.rule
        self.tier = span.tier
        self.verify = span.verify
        self.merges = span.merges
        self.max_width = span.max_width
        self._states = program.states
        self._counters = program.counters if span.merges else {}
        self._start = frozenset({program.start})
        self._classes = classes
        self._points: dict[tuple[frozenset[int], CharClass], Point] = {}
        self._leaves: dict[tuple[Counter, CharClass, CharClass], tuple[Point | None, bool]] = {}
        counters = {counter for counter, _count in self._counters.values()}
        # Whether a match may be certain while it still counts.
        self.open_counters = any(self._accepts_at_once(counter.leave) for counter in counters)
        self._context = any(isinstance(state, Look | Boundary) for state in program.states)

    def begin(self, behind: CharClass, ahead: CharClass) -> Point | None:
        """The run that takes a character of class `ahead` first, if a match may begin with it."""
        return self._reach(self._start, behind, ahead)[0]

    def may_begin(self, behind: CharClass) -> bool:
        """Whether any character after one of class `behind` may begin a match."""
        return any(self.begin(behind, ahead) is not None for ahead in self._classes.samples)

    def step(self, point: Point, ahead: CharClass) -> tuple[Point | None, bool]:
        known = point.steps.get(ahead)
        if known is None:
            known = point.steps[ahead] = self._reach(point.kernel, point.behind, ahead)
        return known

    def after(self, counter: Counter, behind: CharClass) -> Point:
        """Where a run stands that has counted enough, and shall not count on."""
        return self._point(counter.leave, behind)

    def leave(self, counter: Counter, behind: CharClass, ahead: CharClass) -> tuple[Point | None, bool]:
        """What becomes of a run that has counted enough and leaves: as `step`, but not known as a match before."""
        known = self._leaves.get((counter, behind, ahead))
        if known is None:
            after = self.after(counter, behind)
            point, accepted = self.step(after, ahead)
            known = self._leaves[counter, behind, ahead] = point, accepted and not after.accepts
        return known

    def union(self, one: Point, other: Point) -> Point:
        """Where either run stands; both after the same character."""
        return self._point(one.kernel | other.kernel, one.behind)

    def may_end(self, point: Point) -> bool:
        """Whether what has been taken so far may be a match; also True for some that cannot, with lookarounds."""
        return self._closure(point.kernel, point.behind, _ANY)[1]

    def ends(self, point: Point) -> bool:
        """Whether a run is a match if the text ends here."""
        return self._reach(point.kernel, point.behind, EDGE_CLASS)[1]

    def __repr__(self) -> str:
        return f"<Machine rule={self.rule} states={len(self._states)} points={len(self._points)}>"

    def _reach(
        self, kernel: frozenset[int], behind: CharClass, ahead: CharClass
    ) -> tuple[Point | None, bool]:
        open_, accepted = self._closure(kernel, behind, ahead)
        taken = frozenset(
            state.then for state in open_ if ahead is not EDGE_CLASS and ahead.members[state.chars]
        )
        return (self._point(taken, self._classes.seen[ahead]) if taken else None), accepted

    def _point(self, kernel: frozenset[int], behind: CharClass) -> Point:
        key = (kernel, behind if self._context else EDGE_CLASS)
        point = self._points.get(key)
        if point is None:
            if len(self._points) >= _MEMO_LIMIT:
                self._points.clear()
            counted = self._counters.get(next(iter(kernel))) if len(kernel) == 1 else None
            if counted is not None and counted[1] < _YOUNG:
                counted = None
            point = Point(*key, self._closure(*key, None)[1], counted)
            point = self._points.setdefault(key, point)
        return point

    def _accepts_at_once(self, kernel: frozenset[int]) -> bool:
        """Whether a match may end here without a look at the next character."""
        seen = set(kernel)
        pending = list(kernel)
        while pending:
            match self._states[pending.pop()]:
                case Accept():
                    return True
                case Split(then):
                    fresh = set(then) - seen
                case Look(behind=True, then=following):
                    fresh = {following} - seen
                case _:
                    fresh = set()
            seen |= fresh
            pending.extend(fresh)
        return False

    def _closure(
        self, kernel: frozenset[int], behind: CharClass, ahead: CharClass | None
    ) -> tuple[list[Consume], bool]:
        """The consuming states in reach from here, and whether the end is; `ahead` None: not known yet."""
        seen = set(kernel)
        pending = list(kernel)
        consuming: list[Consume] = []
        accepted = False
        while pending:
            following: tuple[int, ...] = ()
            match self._states[pending.pop()]:
                case Consume() as state:
                    consuming.append(state)
                case Accept():
                    accepted = True
                case Split(then):
                    following = then
                case Look() | Boundary() as state:
                    following = (state.then,) if self._agrees(state, behind, ahead) else ()
            fresh = [number for number in following if number not in seen]
            seen.update(fresh)
            pending.extend(fresh)
        return consuming, accepted

    def _agrees(self, state: Look | Boundary, behind: CharClass, ahead: CharClass | None) -> bool:
        if isinstance(state, Look) and state.behind:
            return self._sees(state.chars, behind) is state.wanted
        if ahead is None or ahead is _ANY:
            return ahead is not None
        if isinstance(state, Look):
            return self._sees(state.chars, ahead) is state.wanted
        return (behind.word != ahead.word) is state.wanted

    def _sees(self, chars: int | None, neighbour: CharClass) -> bool:
        if chars is None:
            return neighbour is EDGE_CLASS
        return neighbour is not EDGE_CLASS and neighbour.members[chars]


def most_places(program: Program, sets: CharSets, enough: int) -> int:
    """In how many of its states a match may stand at once, as far as a search finds out that always takes the
    character after which it is most; no further than `enough`. What a new place in a text costs grows with it."""
    classes = Classes(
        sets, {state.chars for state in program.states if isinstance(state, Look) and state.chars}
    )
    machine = Machine(program, classes, Span(0, 0, None, False, None))
    firsts = [
        machine.begin(behind, ahead) for behind in (EDGE_CLASS, *classes.samples) for ahead in classes.samples
    ]
    most = 0
    point = max((point for point in firsts if point), key=_places, default=None)
    for _ in range(2 * enough):
        if point is None or most >= enough:
            break
        most = max(most, _places(point))
        following = (machine.step(point, ahead)[0] for ahead in classes.samples)
        point = max((point for point in following if point), key=_places, default=None)
    return most


def _places(point: Point) -> int:
    return len(point.kernel)
