"""The gate: the only way from the engine's text to anyone. It holds exactly the undecided end of the text.

One gate a response. Every decision is taken at a character, never at a delta's end, so how the text is split
into deltas changes neither what is released in the end, nor the cut. Matches are those of `Scanner`:

- block: the text ends right before the match, once no earlier undecided match could change that;
- redact: `[redacted]` for the union of overlapping matches; what continues a redacted match vanishes with it;
- annotate, flag: the text is shown without waiting, the note follows when the match is known.
"""

from __future__ import annotations

from typing import Final, Literal

from app.moderation.match import Match
from app.moderation.matcher import CompiledPolicy
from app.moderation.outcome import Cut, GateStep, Summary
from app.moderation.policy import BLOCK, HOLD_CAP, REDACT, SHOW, Direction
from app.moderation.prefilter import PLAIN, place
from app.moderation.release import REDACTED, Release
from app.moderation.scanner import Scanner

__all__ = ["REDACTED", "Cut", "Gate", "GateStep", "Summary"]

_PIECE: Final = 1024  # characters of a long delta after which what is decided is put aside
# Characters that are sooner walked through than searched for where the next match may begin.
_SHORT: Final = 24
_NOTHING: Final = GateStep("")


class Gate:
    __slots__ = (
        "_block",
        "_cut",
        "_last",
        "_late",
        "_matcher",
        "_open",
        "_passed",
        "_policy",
        "_release",
        "_scanner",
        "_tail",
        "_trigger",
    )

    def __init__(self, compiled: CompiledPolicy, direction: Direction = "output") -> None:
        self._policy = compiled
        self._matcher = compiled.matcher(direction)
        self._scanner = Scanner(self._matcher)
        self._release = Release(self._matcher)
        self._trigger = self._matcher.trigger
        self._open = True
        self._cut: Cut | None = None
        # The last character taken, if the fast path is open: it is plain, and nothing is under way.
        self._last = " " if self._trigger is None else ""
        # Held by the fast path: the end of the text so far, which only a regex has looked at.
        self._tail = ""
        self._block: Match | None = None  # the earliest block, waiting for matches that may begin before it
        self._passed = 0  # characters released by the fast path that the scanner has not been told of
        self._late = 0  # characters dropped after the end

    @property
    def transparent(self) -> bool:
        """Whether the policy looks for nothing, so that all text may pass as it is and need not be pushed."""
        return self._trigger is None

    @property
    def held(self) -> int:
        """Raw characters held because nothing is decided about them yet."""
        return self._release.held + len(self._tail)

    @property
    def decided(self) -> int:
        """Raw characters that were shown or redacted so far."""
        return self._release.position + self._passed

    @property
    def hidden(self) -> tuple[tuple[int, int, int], ...]:
        """Which raw characters redactions stand for, in order: (start, end, characters shown up to that end)."""
        return tuple(self._release.hidden)

    @property
    def redacted_to(self) -> int:
        """Where the last redaction ended, in raw characters; -1 where none was. It may grow while it is `decided`."""
        return self._release.redacted_to

    @property
    def cut(self) -> Cut | None:
        return self._cut

    def glance(self, text: str) -> str | None:
        """What may be shown of a delta if that is all there is to say of it, "" where all of it waits; the way of
        nearly every delta. None: nothing was taken, so `push` it.
        """
        last = self._last
        if not last:
            return None
        trigger = self._trigger
        if trigger is None:
            self._passed += len(text)
            return text
        if self._tail:
            text = self._tail + text
        found = trigger.search(last + text)
        if found is None:
            self._tail = ""
            self._last = text[-1] if text else last
            self._passed += len(text)
            return text
        start = place(found) - 1
        if len(text) - start >= trigger.reach or not trigger.waits(last + text, start + 1):
            return None
        self._tail = text[start:]
        text = text[:start]
        self._last = text[-1] if text else last
        self._passed += len(text)
        return text

    def push(self, text: str) -> GateStep:
        """Take a delta; return what may be shown now. After the cut, or the end, nothing."""
        if self._last:
            released = self.glance(text)
            if released is not None:
                return GateStep(released)
        elif not self._open:
            self._late += len(text)
            return _NOTHING
        if self._passed or self._tail:
            text = self._settled() + text
        for start in range(0, len(text), _PIECE):
            piece = text[start : start + _PIECE]
            if self._open:
                self._walk(piece)
                self._advance()
            else:
                self._late += len(piece)
        return self._release.step(self._cut)

    def finish(self) -> GateStep:
        """The text has ended; whatever is still held is released, redacted or cut."""
        if not self._open:
            return _NOTHING
        self._walk(self._settled())
        self._scanner.finish()
        self._collect()
        self._try_cut()
        if self._open:
            self._release.advance(self._scanner.at, self._scanner.at, self._scanner.at)
            self._close()
        self._advance()
        return self._release.step(self._cut)

    def summary(self) -> Summary:
        release = self._release
        return Summary(
            policy_version=self._policy.version,
            policy_digest=self._policy.digest,
            seen=tuple(sorted(release.notes.seen)),
            redactions=release.redactions,
            released=release.shown + self._passed,
            withheld=self._scanner.at + len(self._tail) + self._late - release.kept,
        )

    def __repr__(self) -> str:
        state = "open" if self._open else "cut" if self._cut else "finished"
        return f"<Gate {state} policy={self._policy.version} held={self.held}>"

    def _settled(self) -> str:
        """Tell of what the fast path let through; returns what it holds."""
        if self._passed:
            self._scanner.skip(self._passed, self._last)
            self._release.pass_by(self._passed)
            self._passed = 0
        tail, self._tail = self._tail, ""
        return tail

    def _walk(self, text: str) -> None:
        scanner, size = self._scanner, len(text)
        self._release.take(text)
        index = 0
        while index < size:
            long = size - index > _SHORT
            if long:
                index = self._search(text, index)
                if index == size:
                    break
            # Both a block that waits and the cap are looked at after the very character that decides them.
            room = 1 if self._block is not None else self._release.position + HOLD_CAP + 1 - scanner.at
            index = scanner.walk(text, index, min(size, index + room), pause=long)
            if scanner.matches:
                self._collect()
            if self._block is not None:
                self._try_cut()
            if scanner.at - self._release.position > HOLD_CAP and self._open:
                self._relieve()
            if not self._open:
                self._late += size - index
                return
        if size:
            self._last = text[-1] if scanner.idle and text[-1] in PLAIN else ""

    def _search(self, text: str, index: int) -> int:
        """Skip plain text in which nothing begins. Returns where it ends."""
        scanner = self._scanner
        known = self._last + text
        behind = index + len(self._last) - 1
        if not scanner.idle or behind < 0 or known[behind] not in PLAIN:
            return index
        trigger = scanner.next_trigger(known, behind, len(known))
        following = len(text) if trigger is None else trigger - len(self._last)
        if following > index:
            scanner.skip(following - index, text[following - 1])
        return max(index, following)

    def _collect(self) -> None:
        """Sort what the scanner found by what is to be done about it."""
        for match in self._scanner.matches:
            tier = self._matcher.tiers[match.rule]
            if tier == SHOW:
                self._release.notes.add(match)
            elif tier == REDACT:
                self._release.redact(match)
            elif self._block is None or (match.start, match.rule) < (self._block.start, self._block.rule):
                self._block = match
        self._scanner.matches.clear()
        self._scanner.blocked = False

    def _try_cut(self) -> None:
        """Cut, unless a match that began before the blocked one is undecided: it could move the cut or hide more."""
        if self._block is not None and self._scanner.holds()[1] >= self._block.start:
            self._end(self._block.start, self._block.rule, "match")

    def _relieve(self) -> None:
        """More than the cap is held, unless what became certain meanwhile is released: let the policy decide."""
        scanner, release = self._scanner, self._release
        release.advance(*scanner.holds(), scanner.at)
        self._note()
        if scanner.at - release.position <= HOLD_CAP:
            return
        suspect = scanner.suspect((BLOCK, REDACT))
        if suspect is None:  # only characters that show nothing, before a match that has not begun
            scanner.forget_lead()
        elif self._policy.policy.at_hold_cap == "block":
            self._end(release.position, suspect, "hold_cap")
        else:
            scanner.forget()
            self._try_cut()

    def _end(self, position: int, rule: int, reason: Literal["match", "hold_cap"]) -> None:
        release = self._release
        release.advance(position, position, self._scanner.at)
        release.notes.drop_after(release.position)  # past the cut where a redaction reaches over it
        category, action = self._matcher.rules[rule].category, self._matcher.rules[rule].action
        self._cut = Cut(category, self._policy.version, action, reason)
        release.notes.seen.add((category, action))
        self._close()

    def _close(self) -> None:
        self._open = False
        self._last = ""
        self._scanner.forget()

    def _advance(self) -> None:
        """Release what is decided; only the held text stays in memory."""
        scanner, release = self._scanner, self._release
        if self._open:
            release.advance(*scanner.holds(), scanner.at)
            release.drop_decided()
            if release.notes.busy:
                self._note()
        else:
            release.end()
            release.note(release.position)

    def _note(self) -> None:
        self._release.note(min(self._release.position, self._scanner.hold_from(SHOW)))
