"""One text, one character at a time: which matches are certain, and from where on nothing is decided yet.

Positions are raw: characters of the text since its beginning, before folding.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from app.moderation.automaton import EDGE
from app.moderation.crowd import FAR, Change, Claim, Member, Move
from app.moderation.fold import SPACE_RUN
from app.moderation.lines import Lines, Run
from app.moderation.machine import CharClass, Machine, Point
from app.moderation.matcher import Matcher
from app.moderation.policy import BLOCK

_WINDOW = 1024  # folded characters that are kept for checks of matches; twice that before trimming


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
        self.blocked = False  # one of them is of a rule that blocks; the owner resets it
        self._matcher = matcher
        self._fold = matcher.fold
        self._classes = matcher.classes
        self._crowds = matcher.crowds
        self._automaton = matcher.automaton
        self._has_terms = len(matcher.automaton.children) > 1
        self._verifies = matcher.verifies
        self._state = 0
        self._crowd = matcher.crowds.nobody
        self._runs: list[Run] = []  # of the crowd's slots
        self._lines = Lines()
        self._alarm = FAR  # no line and no width changes the crowd before this folded position
        self._claimed = True  # all that the crowd claims has been noted
        self._lead = 0  # where the characters that show nothing, if any, began at the end of the text so far
        self._end = 0  # of the last folded character
        self._spaces = 0  # white space in a row, if the last of it was taken before `_spaces_at`
        self._spaces_at = 0
        # The last folded characters, and where they start; `_dropped` is the folded position of the first.
        self._folded: list[str] = []
        self._starts: list[int] = []
        self._dropped = 0
        self._position = 0  # of the next folded character

    @property
    def idle(self) -> bool:
        """Nothing is under way: no character taken so far can be in a match yet to come."""
        return self._crowd.idle and not self._state and self._lead == self.at

    def take(self, char: str) -> None:
        self._take(char)
        self._claim()

    def walk(self, text: str, index: int, end: int, pause: bool) -> int:
        """Take `text[index:end]`, or less: up to a block, or with `pause` to where nothing is under way.

        Returns the index that has been reached.
        """
        begun = index
        while index < end:
            if self._lead == self.at and not self._has_terms:
                index += self._stride(text, index, end, pause)
                if index == end or (pause and self.idle and index > begun):
                    break
            self._take(text[index])
            index += 1
            if self.blocked or (pause and self.idle):
                break
        self._claim()
        return index

    def skip(self, count: int, last: str) -> None:
        """Go past plain text of which the trigger says that no match begins in it; only while idle."""
        self.at += count
        self._lead = self._end = self.at
        self._spaces = 0  # see `prefilter`: no match begins with the white space at the end, if there is some
        self._spaces_at = self._position
        last_class = self._classes[self._fold[last]]
        self._crowd = self._crowds.of((), (), self._classes.seen[last_class], last_class.space)
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
                self._found(term.rule, position - len(term.text))
        claims: list[Claim] = []
        for slot, members in enumerate(self._crowd.slots):
            for machine, point, checked in members:
                if machine.ends(point):
                    claims.append(Claim(machine, slot, None, checked))
        behind = self._crowd.behind
        for machine, counter, due in self._crowd.lines:
            if due and machine.ends(machine.after(counter, behind)):
                claims.append(Claim(machine, -1, counter, True))
        self._note(claims)
        self.forget()

    def hold_from(self, tier: int) -> int:
        """The raw position from which on a match of that tier may yet turn up; `at` where none is under way."""
        if self.idle:
            return self.at
        crowd = self._crowd
        lines, position = self._lines, self._position
        begins = [lines.first(counter, position)[0] for counter in crowd.waiting[tier]]
        slot = crowd.firsts[tier]
        if slot is not None:
            begins.append(self._runs[slot][0])
        if self._state:
            depth = self._automaton.depths[tier][self._state]
            if depth:
                begins.append(self._starts[len(self._starts) - depth])
        if begins:
            return min(begins)
        invisible = self._lead < self.at and self._matcher.may_begin(tier, crowd.behind)
        return self._lead if invisible else self.at

    def suspect(self, tiers: tuple[int, ...]) -> int | None:
        """The rule whose match of one of these tiers has been under way the longest; None where none is."""
        suspects: list[tuple[int, int]] = []
        for tier in tiers:
            depth = self._automaton.depths[tier][self._state]
            if depth:
                rule = self._automaton.owner(tier, self._state)
                suspects.append((self._starts[len(self._starts) - depth], rule))
        for run, members in zip(self._runs, self._crowd.slots, strict=True):
            suspects += [(run[0], member.machine.rule) for member in members if member.machine.tier in tiers]
        for machine, counter, _due in self._crowd.lines:
            if machine.tier in tiers:
                suspects.append((self._lines.first(counter, self._position)[0], machine.rule))
        return min(suspects)[1] if suspects else None

    def forget(self) -> None:
        """Give up all that is under way: no later match begins before the end of the text so far."""
        self._state = 0
        self._crowd = self._crowds.of((), (), self._crowd.behind, self._crowd.spaced)
        self._runs = []
        self._lines.clear()
        self._alarm = FAR
        self._claimed = True
        self._lead = self.at

    def forget_lead(self) -> None:
        """Let go of the characters at the end that show nothing: they will not count to a match that follows."""
        self._lead = self.at

    def __repr__(self) -> str:
        return f"<Scanner at={self.at} {self._crowd!r}>"

    def _stride(self, text: str, index: int, end: int, pause: bool) -> int:
        """Take characters for as long as each folds to one, and does no more than to move the slots' matches on.

        Returns how many. This is where a dear text is kept cheap: a character costs two look-ups.
        """
        first = at = self.at
        crowd, runs, position = self._crowd, self._runs, self._position
        steps, kinds = crowd.steps, self._matcher.kinds
        for char in text[index : min(end, index + max(self._alarm - position - 1, 0))]:
            step = steps.get(kinds[char])  # type: ignore[arg-type]
            if step is None:
                break
            steps, crowd, kept, width = step
            if kept is not None:
                runs = [runs[slot] for slot in kept]
            if width:
                runs.append((at, position, position))
            at += 1
            position += 1
            if width and position + width < self._alarm:
                self._alarm = position + width
                break
            if pause and crowd.idle:
                break
        if at == first:
            return 0
        if self._verifies:
            self._folded += map(self._fold.__getitem__, text[index : index + at - first])
            if len(self._folded) > 2 * _WINDOW:
                self._trim_window()
        self._crowd, self._runs, self._position = crowd, runs, position
        self.at = self._lead = self._end = at
        self._claimed = not crowd.claims
        return at - first

    def _take(self, char: str) -> None:
        folded = self._fold[char]
        start = self._lead
        self.at += 1
        if not folded:
            return
        if folded != " " or not self._crowd.spaced or not self._drop_space():
            for part in folded:
                self._take_folded(part, start)
        self._lead = self.at

    def _drop_space(self) -> bool:
        """Whether a white space after another is left out."""
        if self._spaces_at != self._position:
            self._spaces = 1  # the one before it was the first
        self._spaces += 1
        dropped = self._spaces % SPACE_RUN != 1
        self._spaces_at = self._position if dropped else self._position + 1
        return dropped

    def _take_folded(self, char: str, start: int) -> None:
        """Take a folded character: it begins at a raw position, what it ends did so at `_end`."""
        ahead = self._classes[char]
        crowd = self._crowd
        if self._state and not ahead.word:
            for term in self._automaton.ending[self._state]:
                self._found(term.rule, self._position - len(term.text))
        move = crowd.moves.get(ahead) or self._crowds.move(crowd, ahead, self._classes.seen[ahead])
        if not self._claimed and (not move.carries or self._position + 1 >= self._alarm):
            self._claim()
        self._folded.append(char)
        if move.early:
            self._note(move.early)
        self._apply(move, start)
        if self._position >= self._alarm:
            self._ring()
        claims = self._crowd.claims
        self._claimed = not claims
        if claims and not self._crowd.lasting:
            self._claim()
        if self._has_terms:
            self._starts.append(start)
            self._step_terms(char, crowd.behind)
        if len(self._folded) > 2 * _WINDOW:
            self._trim_window()

    def _apply(self, move: Move, start: int) -> None:
        position = self._position
        runs = self._runs
        if move.begins:
            runs.append((start, position, position))
            if position + 1 + move.width < self._alarm:
                self._alarm = position + 1 + move.width
        self._position = position + 1
        self._end = self.at
        if move.plain:
            self._change(move.change)
            return
        going_on = [(machine, runs[slot], point) for machine, slot, point in move.counting]
        for (machine, counter, _due), point in move.leaving:
            going_on.append((machine, self._lines.leaver(counter, position), point))
        for counter in move.over:
            self._lines.end(counter)
        self._change(move.change)
        for machine, run, point in going_on:
            self._enter(machine, run, point)

    def _change(self, change: Change) -> None:
        crowd, kept, merged = change
        runs = self._runs
        for slot, other in merged:
            start, first, newest = runs[slot]
            runs[slot] = start, first, max(newest, runs[other][2])
        if kept is not None:
            self._runs = [runs[slot] for slot in kept]
        self._crowd = crowd

    def _enter(self, machine: Machine, run: Run, point: Point) -> None:
        """A match under way stands at `point` now."""
        if point.counted is not None:
            counter, count = point.counted
            if counter not in self._lines:
                self._lines.begin(machine, counter, run, self._position - count)
                self._alarm = min(self._alarm, self._lines.until(counter, self._position))
                return
            if self._lines.join(counter, run, self._position - count):
                return
        start, first, newest = run
        slot = bisect_left(self._runs, (start, first))
        new = slot == len(self._runs) or self._runs[slot][:2] != (start, first)
        if new:
            self._runs.insert(slot, run)
        else:
            self._runs[slot] = start, first, max(newest, self._runs[slot][2])
        if machine.max_width is not None:
            self._alarm = min(self._alarm, newest + machine.max_width + 1)
        self._change(self._crowds.enter(self._crowd, Member(machine, point), slot, new))

    def _ring(self) -> None:
        """Some line's first may leave, or has counted all it can, or a pattern's width is reached."""
        alarm = self._end_spent() if self._crowd.narrow else FAR
        lines, lines_alarm = self._lines.state(self._position)
        self._alarm = min(alarm, lines_alarm)
        if lines != self._crowd.lines:
            self._crowd = self._crowds.lined(self._crowd, lines)

    def _end_spent(self) -> int:
        """End what has reached its pattern's width. Returns where that happens next."""
        gone: set[tuple[int, Member]] = set()
        alarm = FAR
        for slot, (run, members) in enumerate(zip(self._runs, self._crowd.slots, strict=True)):
            for member in members:
                width = member.machine.max_width
                if width is None:
                    continue
                if self._position - run[2] > width:
                    gone.add((slot, member))
                else:
                    alarm = min(alarm, run[2] + width + 1)
        if gone:
            self._change(self._crowds.left(self._crowd, gone))
        return alarm

    def _claim(self) -> None:
        """Note what the crowd claims."""
        if self._claimed:
            return
        self._claimed = True
        self._note(self._crowd.claims)

    def _note(self, claims: Iterable[Claim]) -> None:
        """Matches up to the last folded character, if they pass their checks."""
        position, runs, folded, dropped = self._position, self._runs, self._folded, self._dropped
        for machine, slot, counter, checked in claims:
            start, first, _ = runs[slot] if counter is None else self._lines.first(counter, position)
            verify = machine.verify
            if verify is None or not checked or verify("".join(folded[first - dropped : position - dropped])):
                self._add(Match(start, self._end, machine.rule))

    def _found(self, rule: int, first: int) -> None:
        self._add(Match(self._starts[first - self._dropped], self._end, rule))

    def _add(self, match: Match) -> None:
        matches = self.matches
        if matches and matches[-1].start == match.start and matches[-1].rule == match.rule:
            matches[-1] = match  # matches come by their ends, so it covers the last one
        else:
            matches.append(match)
        self.blocked = self.blocked or self._matcher.tiers[match.rule] == BLOCK

    def _step_terms(self, char: str, behind: CharClass) -> None:
        state = self._state
        if not behind.word:
            state = self._automaton.step(state, EDGE)
        state = self._automaton.step(state, char)
        for term in self._automaton.found[state]:
            self._found(term.rule, self._position - len(term.text))
        self._state = 0 if self._automaton.resting[state] else state

    def _forget_window(self) -> None:
        self._dropped = self._position
        self._folded.clear()
        self._starts.clear()

    def _trim_window(self) -> None:
        surplus = len(self._folded) - _WINDOW
        self._dropped += surplus
        del self._folded[:surplus]
        del self._starts[:surplus]
