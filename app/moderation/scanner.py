"""One text, one character at a time: which matches are certain, and from where on nothing is decided yet.

Positions are raw: characters of the text since its beginning, before folding.
"""

from __future__ import annotations

from typing import NamedTuple

from app.moderation.automaton import EDGE
from app.moderation.fold import SPACE_RUN
from app.moderation.lane import Lane, Run
from app.moderation.machine import EDGE_CLASS, CharClass, Machine
from app.moderation.matcher import Matcher
from app.moderation.sprout import Sprout

_WINDOW = 1024  # folded characters whose places are kept for matches under way; twice that before trimming


class Match(NamedTuple):
    """Certain: rule number `rule` covers the raw characters from `start` up to `end`.

    What shows nothing right before the first matched character belongs to the match.
    """

    start: int
    end: int
    rule: int


class Scanner:
    def __init__(self, matcher: Matcher) -> None:
        self.at = 0  # raw characters taken
        self.matches: list[Match] = []  # found since the owner last emptied it
        self._matcher = matcher
        self._fold = matcher.fold
        self._classes = matcher.classes
        self._automaton = matcher.automaton
        self._sprouts_known = matcher.sprouts
        self._has_terms = len(matcher.automaton.children) > 1
        self._state = 0
        self._sprouts: list[
            tuple[Sprout, int, int]
        ] = []  # with folded and raw position of the first character
        self._lanes: dict[Machine, Lane] = {}  # of the patterns that have a run under way beyond that
        self._behind = EDGE_CLASS
        self._lead = 0  # where the characters that show nothing, if any, began at the end of the text so far
        self._spaces = 0  # white space in a row
        # The last folded characters with their raw extents; `_dropped` is the folded position of the first.
        self._folded: list[str] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._dropped = 0
        self._position = 0  # of the next folded character

    @property
    def idle(self) -> bool:
        """Nothing is under way: no character taken so far can be in a match yet to come."""
        return not self._state and not self._sprouts and not self._lanes and self._lead == self.at

    def take(self, char: str) -> None:
        folded = self._fold[char]
        if not folded:
            self.at += 1
            return
        if folded != " ":
            self._spaces = 0
        else:
            self._spaces += 1
            if self._spaces % SPACE_RUN != 1:
                self.at += 1
                self._lead = self.at
                return
        start = self._lead
        self.at += 1
        self._lead = self.at
        for part in folded:
            self._take_folded(part, start)

    def skip(self, count: int, last: str) -> None:
        """Go past plain text of which the trigger says that no match begins in it; only while idle."""
        self.at += count
        self._lead = self.at
        self._spaces = 0  # see `prefilter`: no match begins with the white space at the end, if there is some
        self._behind = self._classes[self._fold[last]]
        self._forget_window()

    def next_trigger(self, text: str, behind: int, end: int) -> int | None:
        """Where after `text[behind]`, a character already taken, slow work must begin; None: not before `end`.

        Only while idle, and only if that character is plain.
        """
        trigger = self._matcher.trigger
        return None if trigger is None else trigger.find(text, behind, end)

    def finish(self) -> None:
        """The text has ended: what waited for its end is a match now or never."""
        position = self._position
        if self._state:
            for term in self._automaton.ending[self._state]:
                self._found(term.rule, position - len(term.text), position)
        for lane in self._lanes.values():
            for run, end in lane.finish(self._behind, position):
                self._accept(lane.machine, run, end)
        self.forget()

    def hold_from(self, tier: int) -> int:
        """The raw position from which on a match of that tier may yet turn up; `at` where none is under way."""
        if self.idle:
            return self.at
        position: int | None = None
        depth = self._automaton.depths[tier][self._state]
        if depth:
            position = self._starts[len(self._starts) - depth]
        for sprout, _first, start in self._sprouts:
            if tier in sprout.rules:
                position = start if position is None else min(position, start)
                break  # they are in the order of their beginnings
        for machine, lane in self._lanes.items():
            if machine.tier == tier:
                start = lane.start
                position = start if position is None else min(position, start)
        if position is not None:
            return position
        invisible = self._lead < self.at and self._matcher.may_begin(tier, self._behind)
        return self._lead if invisible else self.at

    def suspect(self, tiers: tuple[int, ...]) -> int | None:
        """The rule whose match of one of these tiers has been under way the longest; None where none is."""
        suspects: list[tuple[int, int]] = []
        for tier in tiers:
            depth = self._automaton.depths[tier][self._state]
            if depth:
                rule = self._automaton.owner(tier, self._state)
                suspects.append((self._starts[len(self._starts) - depth], rule))
        for sprout, _first, start in self._sprouts:
            suspects += [(start, rule) for tier, rule in sprout.rules.items() if tier in tiers]
        lanes = self._lanes.items()
        suspects += [(lane.start, machine.rule) for machine, lane in lanes if machine.tier in tiers]
        return min(suspects)[1] if suspects else None

    def forget(self) -> None:
        """Give up all that is under way: no later match begins before the end of the text so far."""
        self._state = 0
        self._sprouts.clear()
        self._lanes.clear()
        self._lead = self.at

    def forget_lead(self) -> None:
        """Let go of the characters at the end that show nothing: they will not count to a match that follows."""
        self._lead = self.at

    def __repr__(self) -> str:
        return f"<Scanner at={self.at} lanes={len(self._lanes)}>"

    def _take_folded(self, char: str, start: int) -> None:
        ahead = self._classes[char]
        behind = self._behind
        position = self._position
        self._folded.append(char)
        self._starts.append(start)
        self._ends.append(self.at)
        self._position = position + 1
        if self._has_terms:
            self._confirm_words(ahead, position)
        if self._lanes:
            self._step_lanes(behind, ahead, position)
        if self._has_terms:
            self._step_terms(char, behind, position + 1)
        if self._sprouts:
            self._grow(ahead, position)
        try:
            begun = self._sprouts_known[behind, ahead]
        except KeyError:
            begun = self._matcher.sprout(behind, ahead)
        if begun is not None:
            if begun.ripe:
                self._plant(begun, position, start, position + 1)
            else:
                self._sprouts.append((begun, position, start))
        self._behind = ahead
        if len(self._folded) > 2 * _WINDOW:
            self._trim_window()

    def _grow(self, ahead: CharClass, position: int) -> None:
        growing: list[tuple[Sprout, int, int]] = []
        for sprout, first, start in self._sprouts:
            grown = sprout.moves.get(ahead) or sprout.move(ahead)
            if grown is None:
                continue
            if grown.ripe:
                self._plant(grown, first, start, position + 1)
            else:
                growing.append((grown, first, start))
        self._sprouts = growing

    def _plant(self, sprout: Sprout, first: int, start: int, position: int) -> None:
        """Give each pattern that has begun a run of its own, before the character at a folded position."""
        run = Run(first, first, start)
        for machine, point in sprout.begun:
            lane = self._lanes.get(machine)
            if lane is None:
                lane = self._lanes[machine] = Lane(self._matcher.crowds[machine])
            lane.enter(run, point, position)
            if point.accepts:
                self._accept(machine, run, position)

    def _confirm_words(self, ahead: CharClass, position: int) -> None:
        if self._state and not ahead.word:
            for term in self._automaton.ending[self._state]:
                self._found(term.rule, position - len(term.text), position)

    def _step_terms(self, char: str, behind: CharClass, position: int) -> None:
        state = self._state
        if not behind.word:
            state = self._automaton.step(state, EDGE)
        state = self._automaton.step(state, char)
        for term in self._automaton.found[state]:
            self._found(term.rule, position - len(term.text), position)
        self._state = 0 if self._automaton.resting[state] else state

    def _step_lanes(self, behind: CharClass, ahead: CharClass, position: int) -> None:
        over: list[Machine] = []
        for machine, lane in self._lanes.items():
            if not lane.lines and position < lane.until:  # nearly always, so without a call
                move = lane.crowd.moves.get(ahead)
                if move is not None:
                    if move.plain:
                        lane.crowd = move.crowd
                        continue
                    if move.over:
                        over.append(machine)
                        continue
            for run, end in lane.step(behind, ahead, position):
                self._accept(machine, run, end)
            if not lane.runs and not lane.lines:
                over.append(machine)
        for machine in over:
            del self._lanes[machine]

    def _accept(self, machine: Machine, run: Run, end: int) -> None:
        verify = machine.verify if run.checked else None
        if verify is None or verify("".join(self._folded[run.first - self._dropped : end - self._dropped])):
            self.matches.append(Match(run.start, self._ends[end - 1 - self._dropped], machine.rule))

    def _found(self, rule: int, first: int, end: int) -> None:
        start = self._starts[first - self._dropped]
        self.matches.append(Match(start, self._ends[end - 1 - self._dropped], rule))

    def _forget_window(self) -> None:
        self._dropped = self._position
        self._folded.clear()
        self._starts.clear()
        self._ends.clear()

    def _trim_window(self) -> None:
        self._dropped += _WINDOW
        del self._folded[:_WINDOW]
        del self._starts[:_WINDOW]
        del self._ends[:_WINDOW]
