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
from app.moderation.machine import Machine, Point

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


def build_trigger(matcher: Matcher) -> re.Pattern[str]:
    """Searched from the (plain) character before the text in question. Where group 1 took part, slow work
    begins with the character found, otherwise with the one after it."""
    source = ""
    for look_ahead in range(_LOOK_AHEAD, 0, -1):
        source = _Builder(matcher, look_ahead).source()
        if len(source) <= _SIZE:
            break
    return re.compile(source)


class _Builder:
    def __init__(self, matcher: Matcher, look_ahead: int) -> None:
        self._matcher = matcher
        self._look_ahead = look_ahead
        self._memo: dict[tuple[_Stage, bool, int], str] = {}

    def source(self) -> str:
        behinds: dict[str, list[str]] = defaultdict(list)
        for behind in _FOLDED:
            branches = self._branches(self._first(behind), is_word(behind), self._look_ahead)
            if branches:
                behinds["|".join(branches)].append(behind)
        anchors = "".join(char for chars in behinds.values() for char in chars)
        ways = [f"(?<={_charset(chars)})(?={tree})" for tree, chars in behinds.items()]
        # The leading set lets the search skip at C speed to the few characters that matter.
        others = _others(anchors)
        leading = f"[^{others}]" if others else r"[\s\S]"
        return f"{leading}(?:{'|'.join([f'(?<={_NOT_PLAIN})()', *ways])})"

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
        for char in _FOLDED:
            states = frozenset(table[char] for table in tables if char in table)
            ahead = self._matcher.classes[char]
            steps = ((machine, machine.step(point, ahead)[0]) for machine, point in stage[1])
            stages[char] = (
                states,
                frozenset((machine, point) for machine, point in steps if point is not None),
            )
        return stages

    def _branches(self, stages: dict[str, _Stage], word: bool, look_ahead: int) -> list[str]:
        chars_by_rest: dict[str, list[str]] = defaultdict(list)
        for char, stage in stages.items():
            if stage[0] or stage[1]:
                chars_by_rest[self._rest(stage, char, look_ahead - 1)].append(char)
        return [_charset(chars) + rest for rest, chars in chars_by_rest.items()]

    def _rest(self, stage: _Stage, char: str, look_ahead: int) -> str:
        """What must follow for the matches under way to go on; empty where that need not be looked at."""
        # After white space more of it may be dropped by folding: leave that to the slow path.
        if look_ahead == 0 or char == " " or self._certain(stage):
            return ""
        word = is_word(char)
        key = (stage, word, look_ahead)
        if key not in self._memo:
            branches = self._branches(self._next(stage, word), word, look_ahead)
            self._memo[key] = f"(?:{'|'.join([*branches, f'(?!{_PLAIN_SET})'])})"
        return self._memo[key]

    def _certain(self, stage: _Stage) -> bool:
        """Whether something may have matched already, or may match at whatever comes next."""
        automaton = self._matcher.automaton
        if any(automaton.found[state] or automaton.ending[state] for state in stage[0]):
            return True
        return any(point.accepts or machine.may_end(point) for machine, point in stage[1])


def _charset(folded: Iterable[str]) -> str:
    """The plain characters that fold to one of these, as a set of the regex."""
    wanted = set(folded)
    return "[" + "".join(re.escape(char) for char in sorted(PLAIN) if _fold(char) in wanted) + "]"


def _others(folded: Iterable[str]) -> str:
    """Inside of a negated set: the plain characters that fold to none of these."""
    wanted = set(folded)
    return "".join(re.escape(char) for char in sorted(PLAIN) if _fold(char) not in wanted)


def _fold(char: str) -> str:
    return " " if char.isspace() else char.lower()


_FOLDED: Final = sorted({_fold(char) for char in PLAIN})
