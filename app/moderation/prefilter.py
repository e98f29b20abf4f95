"""One compiled regex that finds where a match may begin in raw text, so that benign text is never stepped through.

It may fire too often (then the automaton decides), never too seldom: it fires where the characters in sight
do not rule a match out, and at every character that is not plain ASCII, since folding may change or drop it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from app.moderation.automaton import EDGE
from app.moderation.fold import is_word
from app.moderation.machine import CharClass, Machine, Point
from app.moderation.policy import BLOCK, REDACT

if TYPE_CHECKING:
    from app.moderation.matcher import Matcher

# Characters that fold to themselves, their lower case, or a space.
PLAIN: Final = frozenset([chr(code) for code in range(0x20, 0x7F)] + ["\t", "\n", "\r"])

_PLAIN_SET: Final = r"[\t\n\r -~]"
_NOT_PLAIN: Final = r"[^\t\n\r -~]"
_LOOK_AHEAD: Final = 5  # characters: enough to tell a number or a common word from a key's prefix
_SIZE: Final = 20_000  # of the regex's source; a larger one looks less far ahead

# Matches under way: states of the automaton, and runs of patterns. Empty: none.
_Stage = tuple[frozenset[int], frozenset[tuple[Machine, Point]]]


class Trigger:
    """`search` takes a text whose first character is plain and taken already; no result: no match begins in
    the rest. It is the compiled regex's own method, for the gate's fast path."""

    def __init__(self, matcher: Matcher) -> None:
        for look_ahead in range(_LOOK_AHEAD, 0, -1):
            source = _Builder(matcher, look_ahead, waiting=False).search()
            if len(source) <= _SIZE:
                break
        self.reach = look_ahead
        self.search = re.compile(source).search
        self._waits = re.compile(_Builder(matcher, look_ahead, waiting=True).wait()).match

    def find(self, text: str, behind: int, end: int) -> int | None:
        """Where after `text[behind]`, plain and taken already, a match may begin; None: not before `end`."""
        found = self.search(text, behind, end)
        return None if found is None else place(found)

    def waits(self, text: str, start: int) -> bool:
        """Whether from `start`, a place that was found, up to the end nothing is known yet but that text must
        be held: no more is needed than to look again when there is more text."""
        return self._waits(text, start) is not None

    def __repr__(self) -> str:
        return f"<Trigger reach={self.reach}>"


def place(found: re.Match[str]) -> int:
    """Where the match may begin: at a character that is not plain (group 1), or after an anchoring one."""
    return found.start() if found.lastindex else found.end()


class _Builder:
    def __init__(self, matcher: Matcher, look_ahead: int, waiting: bool) -> None:
        self._matcher = matcher
        self._look_ahead = look_ahead
        self._waiting = (
            waiting  # for the regex that tells whether a text ends within all its possible matches
        )
        self._memo: dict[tuple[_Stage, bool, int], str | None] = {}

    def search(self) -> str:
        trees = self._trees()
        anchors = "".join(char for chars in trees.values() for char in chars)
        ways = [f"(?<={_charset(chars)})(?={tree})" for tree, chars in trees.items()]
        # The leading set lets the search skip at C speed to the few characters that matter.
        others = _others(anchors)
        leading = f"[^{others}]" if others else r"[\s\S]"
        return f"{leading}(?:{'|'.join([f'(?<={_NOT_PLAIN})()', *ways])})"

    def wait(self) -> str:
        return "|".join(
            [r"(?!)", *(f"(?<={_charset(chars)})(?:{tree})" for tree, chars in self._trees().items())]
        )

    def _trees(self) -> dict[str, list[str]]:
        """What a match may begin with -> after which characters it may do so."""
        alike: dict[CharClass, list[str]] = defaultdict(list)  # class -> characters; a class is word or not
        for behind in _FOLDED:
            alike[self._matcher.classes[behind]].append(behind)
        trees: dict[str, list[str]] = defaultdict(list)
        for behinds in alike.values():
            branches = self._branches(self._first(behinds[0]), self._look_ahead)
            if branches:
                trees["|".join(branches)] += behinds
        return trees

    def _first(self, behind: str) -> dict[str, _Stage]:
        """First character of a match that follows `behind` -> what is under way then."""
        children = self._matcher.automaton.children
        roots = [children[0]]
        if not is_word(behind) and EDGE in children[0]:
            roots.append(children[children[0][EDGE]])
        behind_class = self._matcher.classes[behind]
        stages: dict[str, _Stage] = {}
        for char in _FOLDED:
            states = frozenset(root[char] for root in roots if char in root)
            stages[char] = states, frozenset(self._matcher.begins(behind_class, self._matcher.classes[char]))
        return stages

    def _next(self, stage: _Stage, word: bool) -> dict[str, _Stage]:
        """Next character -> what is under way then; `word`: whether the character before it is part of one."""
        children = self._matcher.automaton.children
        tables = [children[state] for state in stage[0]]
        if not word:
            tables = [children[table[EDGE]] for table in tables if EDGE in table]
        stages: dict[str, _Stage] = {}
        runs: dict[CharClass, frozenset[tuple[Machine, Point]]] = {}
        for char in _FOLDED:
            states = frozenset(table[char] for table in tables if char in table)
            ahead = self._matcher.classes[char]
            if ahead not in runs:
                steps = ((machine, machine.step(point, ahead)[0]) for machine, point in stage[1])
                runs[ahead] = frozenset((machine, point) for machine, point in steps if point is not None)
            stages[char] = states, runs[ahead]
        return stages

    def _branches(self, stages: dict[str, _Stage], look_ahead: int) -> list[str]:
        chars_by_rest: dict[str, list[str]] = defaultdict(list)
        for char, stage in stages.items():
            rest = self._rest(stage, char, look_ahead - 1) if stage[0] or stage[1] else None
            if rest is not None:
                chars_by_rest[rest].append(char)
        return [_charset(chars) + rest for rest, chars in chars_by_rest.items()]

    def _rest(self, stage: _Stage, char: str, look_ahead: int) -> str | None:
        """What must follow for the matches under way to go on; empty where that need not be looked at.

        When waiting, what must follow for the text to end within them; None where that cannot be said.
        """
        # After white space more of it may be dropped by folding: leave that to the slow path.
        if look_ahead == 0 or char == " " or self._certain(stage):
            return None if self._waiting else ""
        word = is_word(char)
        key = (stage, word, look_ahead)
        if key not in self._memo:
            branches = self._branches(self._next(stage, word), look_ahead)
            if not self._waiting:
                branches.append(f"(?!{_PLAIN_SET})")
            elif self._must_hold(stage):
                branches.append(r"\Z")
            self._memo[key] = f"(?:{'|'.join(branches)})" if branches else None
        return self._memo[key]

    def _must_hold(self, stage: _Stage) -> bool:
        tiers = {tier for state in stage[0] for tier in self._matcher.automaton.alive[state]}
        tiers |= {machine.tier for machine, _point in stage[1]}
        return bool(tiers & {BLOCK, REDACT})

    def _certain(self, stage: _Stage) -> bool:
        """Whether something may have matched already, or may match at whatever comes next."""
        automaton = self._matcher.automaton
        if any(automaton.found[state] or automaton.ending[state] for state in stage[0]):
            return True
        return any(point.accepts or machine.may_end(point) for machine, point in stage[1])


def _charset(folded: Iterable[str]) -> str:
    """The plain characters that fold to one of these, as a set of the regex."""
    wanted = set(folded)
    return "[" + "".join(raw for char, raw in _ESCAPED.items() if _PLAIN_FOLD[char] in wanted) + "]"


def _others(folded: Iterable[str]) -> str:
    """Inside of a negated set: the plain characters that fold to none of these."""
    wanted = set(folded)
    return "".join(raw for char, raw in _ESCAPED.items() if _PLAIN_FOLD[char] not in wanted)


def _fold(char: str) -> str:
    return " " if char.isspace() else char.lower()


_PLAIN_FOLD: Final = {char: _fold(char) for char in sorted(PLAIN)}
_FOLDED: Final = sorted(set(_PLAIN_FOLD.values()))
_ESCAPED: Final = {char: re.escape(char) for char in sorted(PLAIN)}
