"""One text, one character at a time: which matches are certain, and from where on nothing is decided yet.

Positions are raw: characters of the text since its beginning, before folding.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.moderation.automaton import EDGE
from app.moderation.crowd import Claim
from app.moderation.fold import SPACE_RUN
from app.moderation.machine import CharClass
from app.moderation.match import Match
from app.moderation.matcher import Matcher
from app.moderation.policy import BLOCK, REDACT
from app.moderation.underway import Underway
from app.moderation.window import Window


class Scanner:
    __slots__ = (
        "_automaton",
        "_end",
        "_lead",
        "_matcher",
        "_spaces",
        "_spaces_at",
        "_state",
        "_strides",
        "_tiers",
        "_underway",
        "_window",
        "at",
        "blocked",
        "matches",
    )

    def __init__(self, matcher: Matcher) -> None:
        self.at = 0  # raw characters taken
        self.matches: list[Match] = []  # found since the owner last emptied it
        self.blocked = False  # one of them is of a rule that blocks; the owner resets it
        self._matcher = matcher
        self._underway = Underway(matcher.crowds, matcher.kinds, self._add)
        self._automaton = matcher.automaton
        self._strides = len(matcher.automaton.children) == 1  # there are no terms
        self._tiers = frozenset(matcher.tiers)
        self._state = 0
        self._window = Window(matcher.fold)
        self._lead = 0  # where the characters that show nothing, if any, began at the end of the text so far
        self._end = 0  # of the last folded character
        self._spaces = 0  # white space in a row, if the last of it was taken before `_spaces_at`
        self._spaces_at = 0

    @property
    def idle(self) -> bool:
        """Nothing is under way: no character taken so far can be in a match yet to come."""
        return self._underway.crowd.idle and not self._state and self._lead == self.at

    def take(self, char: str) -> None:
        self._take(char)
        self._claim()

    def walk(self, text: str, index: int, end: int, pause: bool) -> int:
        """Take `text[index:end]`, or less: up to a block, or with `pause` to where nothing is under way.

        Returns the index that has been reached.
        """
        underway = self._underway
        while index < end:
            stopped = True
            if self._strides and self._lead == self.at:
                taken = underway.stride(text, index, end, self.at, pause)
                stopped = underway.stopped
                if taken:
                    self.at = self._lead = self._end = self.at + taken
                    if underway.crowd.checks:
                        self._window.add_raw(text[index : index + taken])
                    index += taken
                if not underway.claimed and not underway.crowd.lasting:
                    self._claim()
            if stopped and not self.blocked:
                self._take(text[index])
                index += 1
            if self.blocked or (pause and self.idle):
                break
        if not underway.claimed:
            self._claim()
        return index

    def skip(self, count: int, last: str) -> None:
        """Go past plain text of which the trigger says that no match begins in it; only while idle."""
        self.at += count
        self._lead = self._end = self.at
        self._spaces = 0  # see `prefilter`: no match begins with the white space at the end, if there is some
        self._spaces_at = self._underway.position
        last_class = self._matcher.classes[self._matcher.fold[last]]
        self._underway.rest(self._matcher.classes.seen[last_class], last_class.space)
        self._window.clear()

    def next_trigger(self, text: str, behind: int, end: int) -> int | None:
        """Where after `text[behind]`, a character already taken, slow work must begin; None: not before `end`.

        Only while idle, and only if that character is plain.
        """
        trigger = self._matcher.trigger
        return None if trigger is None else trigger.find(text, behind, end)

    def finish(self) -> None:
        """The text has ended: what waited for its end is a match now or never."""
        if self._state:
            self._find_ended()
        self._note(self._underway.ending())
        self.forget()

    def hold_from(self, tier: int) -> int:
        """The raw position from which on a match of that tier may yet turn up; `at` where none is under way."""
        if tier not in self._tiers or self.idle:
            return self.at
        first = self._underway.first(tier)
        if self._state:
            depth = self._automaton.depths[tier][self._state]
            if depth:
                start = self._window.starts[-depth]
                first = start if first is None else min(first, start)
        if first is not None:
            return first
        if self._lead < self.at and self._matcher.may_begin(tier, self._underway.crowd.behind):
            return self._lead
        return self.at

    def holds(self) -> tuple[int, int]:
        """From where on a block may yet turn up, and from where on a block or a redaction."""
        if self.idle:
            return self.at, self.at
        redact = self.hold_from(REDACT)
        if BLOCK not in self._tiers:
            return self.at, redact
        block = self.hold_from(BLOCK)
        return block, min(block, redact)

    def suspect(self, tiers: tuple[int, ...]) -> int | None:
        """The rule whose match of one of these tiers has been under way the longest; None where none is."""
        suspects = [*self._underway.suspects(tiers)]
        for tier in tiers:
            depth = self._automaton.depths[tier][self._state]
            if depth:
                rule = self._automaton.owner(tier, self._state)
                suspects.append((self._window.starts[-depth], rule))
        return min(suspects)[1] if suspects else None

    def forget(self) -> None:
        """Give up all that is under way: no later match begins before the end of the text so far."""
        self._state = 0
        crowd = self._underway.crowd
        self._underway.rest(crowd.behind, crowd.spaced)
        self._lead = self.at

    def forget_lead(self) -> None:
        """Let go of the characters at the end that show nothing: they will not count to a match that follows."""
        self._lead = self.at

    def __repr__(self) -> str:
        return f"<Scanner at={self.at} {self._underway.crowd!r}>"

    def _take(self, char: str) -> None:
        folded = self._matcher.fold[char]
        start = self._lead
        self.at += 1
        if not folded:
            return
        if folded != " " or not self._underway.crowd.spaced or not self._drop_space():
            for part in folded:
                self._take_folded(part, start)
        self._lead = self.at

    def _drop_space(self) -> bool:
        """Whether a white space after another is left out."""
        position = self._underway.position
        if self._spaces_at != position:
            self._spaces = 1  # the one before it was the first
        self._spaces += 1
        dropped = self._spaces % SPACE_RUN != 1
        self._spaces_at = position if dropped else position + 1
        return dropped

    def _take_folded(self, char: str, start: int) -> None:
        """Take a folded character: it begins at a raw position, what it ends did so at `_end`."""
        underway, matcher = self._underway, self._matcher
        ahead = matcher.classes[char]
        crowd = underway.crowd
        if self._state and not ahead.word:
            self._find_ended()
        move = crowd.moves.get(ahead) or matcher.crowds.move(crowd, ahead, matcher.classes.seen[ahead])
        if underway.must_claim(move):
            self._claim()
        if move.early:
            self._note(move.early)
        underway.take(move, start)
        self._end = self.at
        self._window.add(char)
        if not underway.claimed and not underway.crowd.lasting:
            self._claim()
        if not self._strides:
            self._window.starts.append(start)
            self._step_terms(char, crowd.behind)

    def _claim(self) -> None:
        """Note what the crowd claims."""
        if not self._underway.claimed:
            self._underway.claimed = True
            self._note(self._underway.crowd.claims)

    def _note(self, claims: Iterable[Claim]) -> None:
        """Matches up to the last folded character, if they pass their checks."""
        for machine, slot, counter, checked in claims:
            run = self._underway.run(slot, counter)
            if run is None:
                continue
            verify = machine.verify
            if verify is None or not checked or verify(self._window.last(self._underway.position - run[1])):
                self._add(Match(run[0], self._end, machine.rule))

    def _add(self, match: Match) -> None:
        matches = self.matches
        if matches and matches[-1].start == match.start and matches[-1].rule == match.rule:
            matches[-1] = match  # matches come by their ends, so it covers the last one
        else:
            matches.append(match)
        self.blocked = self.blocked or self._matcher.tiers[match.rule] == BLOCK

    def _step_terms(self, char: str, behind: CharClass) -> None:
        automaton, state = self._automaton, self._state
        if not behind.word:
            state = automaton.step(state, EDGE)
        state = automaton.step(state, char)
        for term in automaton.found[state]:
            self._add(Match(self._window.starts[-len(term.text)], self._end, term.rule))
        self._state = 0 if automaton.resting[state] else state

    def _find_ended(self) -> None:
        """The words that would be found if a word ended here are."""
        for term in self._automaton.ending[self._state]:
            self._add(Match(self._window.starts[-len(term.text)], self._end, term.rule))
