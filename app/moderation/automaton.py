"""An Aho-Corasick automaton over terms that knows how many trailing characters may still become a match.

Words are marked in the text itself: before each character whose left neighbour is no word character (or is
missing) the automaton is fed `EDGE`. A term that must stand as a whole word begins with an `EDGE`, so its
states are never entered inside a word, and its match counts once the next character shows the word's end.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from app.moderation.fold import is_word

EDGE: Final = "\0"  # folding drops NUL, so it is in no text


@dataclass(frozen=True, slots=True)
class Term:
    """A folded term of rule number `rule`; `tier` says which hold it needs (see `Automaton.depths`)."""

    text: str
    rule: int
    tier: int
    whole: bool

    def __repr__(self) -> str:
        return f"<Term rule={self.rule} length={len(self.text)}>"


class Automaton:
    """States are numbers, 0 is the root.

    `found[state]`: terms that end here, wherever they began. `ending[state]`: whole words that end here if
    no word character follows. `depths[tier][state]`: how many of the last characters may still become, or
    wait to be confirmed as, a match of a term of that tier.
    """

    def __init__(self, terms: list[Term], tiers: int) -> None:
        self.children: list[dict[str, int]] = [{}]
        self.found: list[tuple[Term, ...]] = [()]
        self.ending: list[tuple[Term, ...]] = [()]
        self._fail = [0]
        self._length = [0]  # in characters, EDGE not counted
        self.alive: list[set[int]] = [set()]  # state -> tiers of the terms that go on, or wait, here
        for term in terms:
            self._insert(term)
        self.depths: list[list[int]] = [[0] * len(self.children) for _ in range(tiers)]
        self._owner: list[list[int]] = [[0] * len(self.children) for _ in range(tiers)]
        self._least = self._least_rules(terms, tiers)
        self._link(tiers)
        # states in which nothing is under way, though a match may just have ended
        self.resting = [
            not any(depths[state] for depths in self.depths) for state in range(len(self.children))
        ]

    def step(self, state: int, symbol: str) -> int:
        children = self.children
        while True:
            following = children[state].get(symbol)
            if following is not None:
                return following
            if state == 0:
                return 0
            state = self._fail[state]

    def owner(self, tier: int, state: int) -> int:
        """The first rule, in the policy's order, that makes the longest hold of that tier in this state."""
        return self._least[tier][self._owner[tier][state]]

    def __repr__(self) -> str:
        return f"<Automaton {len(self.children)} states>"

    def _insert(self, term: Term) -> None:
        state = 0
        for symbol in encode(term.text, term.whole):
            self.alive[state].add(term.tier)
            following = self.children[state].get(symbol)
            if following is None:
                following = len(self.children)
                self.children[state][symbol] = following
                self.children.append({})
                self.found.append(())
                self.ending.append(())
                self._fail.append(0)
                self._length.append(self._length[state] + (symbol != EDGE))
                self.alive.append(set())
            state = following
        if term.whole:
            self.alive[state].add(term.tier)
            self.ending[state] += (term,)
        else:
            self.found[state] += (term,)

    def _link(self, tiers: int) -> None:
        queue = deque(self.children[0].values())
        while queue:
            state = queue.popleft()
            self._inherit(state, tiers)
            for symbol, child in self.children[state].items():
                self._fail[child] = self.step(self._fail[state], symbol)
                queue.append(child)

    def _inherit(self, state: int, tiers: int) -> None:
        shorter = self._fail[state]
        self.found[state] += self.found[shorter]
        self.ending[state] += self.ending[shorter]
        for tier in range(tiers):
            alive = tier in self.alive[state]
            self.depths[tier][state] = self._length[state] if alive else self.depths[tier][shorter]
            self._owner[tier][state] = state if alive else self._owner[tier][shorter]

    def _least_rules(self, terms: list[Term], tiers: int) -> list[list[int]]:
        least = [[-1] * len(self.children) for _ in range(tiers)]
        for term in terms:
            state = 0
            for symbol in encode(term.text, term.whole):
                state = self.children[state][symbol]
                known = least[term.tier][state]
                least[term.tier][state] = term.rule if known < 0 else min(known, term.rule)
        return least


def encode(text: str, whole: bool) -> list[str]:
    """The symbols of a term, with an `EDGE` wherever its own text decides that there is one."""
    symbols = [EDGE] if whole else []
    for index, char in enumerate(text):
        if index and not is_word(text[index - 1]):
            symbols.append(EDGE)
        symbols.append(char)
    return symbols
