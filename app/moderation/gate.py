"""The gate: the only way from the engine's text to anyone. It holds exactly the undecided end of the text.

One gate a response. Every decision is taken at a character, never at a delta's end, so how the text is split
into deltas changes neither what is released in the end, nor the cut. Matches are those of `Scanner`:

- block: the text ends right before the match, once no earlier undecided match could change that;
- redact: `[redacted]` for the union of overlapping matches; what continues a redacted match vanishes with it;
- annotate, flag: the text is shown without waiting, the note follows when the match is known.
"""

from __future__ import annotations

from bisect import insort
from typing import Final, Literal

from app.moderation.matcher import CompiledPolicy
from app.moderation.notes import Annotation, Notes
from app.moderation.outcome import Cut, GateStep, Summary
from app.moderation.policy import BLOCK, HOLD_CAP, REDACT, SHOW, Direction
from app.moderation.prefilter import PLAIN, place
from app.moderation.scanner import Match, Scanner

__all__ = ["REDACTED", "Cut", "Gate", "GateStep", "Summary"]

REDACTED: Final = "[redacted]"


_PIECE: Final = 1024  # characters of a long delta after which what is decided is put aside
_SHORT: Final = (
    24  # characters that are sooner walked through than searched for where the next match may begin
)
_NOTHING: Final = GateStep("")


class Gate:
    __slots__ = (
        "_annotations",
        "_base",
        "_block",
        "_buffer",
        "_cut",
        "_hidden",
        "_kept",
        "_last",
        "_late",
        "_matcher",
        "_notes",
        "_open",
        "_passed",
        "_pieces",
        "_policy",
        "_position",
        "_redacted_to",
        "_redactions",
        "_scanner",
        "_shown",
        "_spans",
        "_tail",
        "_trigger",
    )

    def __init__(self, compiled: CompiledPolicy, direction: Direction = "output") -> None:
        self._policy = compiled
        self._matcher = compiled.matcher(direction)
        self._scanner = Scanner(self._matcher)
        self._notes = Notes(self._matcher.rules)
        self._trigger = self._matcher.trigger
        self._open = True
        self._cut: Cut | None = None
        # The last character taken, if the fast path is open: it is plain, and nothing is under way.
        self._last = " " if self._trigger is None else ""
        # Held by the fast path: the end of the text so far, which only a regex has looked at.
        self._tail = ""
        self._buffer = ""  # raw text from `_base` on, what was released of this push included
        self._base = 0
        self._position = 0  # raw; before it all is released or redacted
        self._redacted_to = -1  # where the last redaction ended
        self._hidden: list[tuple[int, int]] = []
        self._spans: list[Match] = []  # redactions found and not yet carried out, sorted
        self._block: Match | None = None  # the earliest block, waiting for matches that may begin before it
        self._pieces: list[str] = []
        self._annotations: list[Annotation] = []
        self._shown = 0  # characters released
        self._passed = 0  # characters released by the fast path that the scanner has not been told of
        self._late = 0  # characters dropped after the end
        self._kept = 0  # raw characters shown as they were
        self._redactions = 0

    @property
    def transparent(self) -> bool:
        """Whether the policy looks for nothing, so that all text may pass as it is and need not be pushed."""
        return self._trigger is None

    @property
    def held(self) -> int:
        """Raw characters held because nothing is decided about them yet."""
        return len(self._buffer) + len(self._tail)

    @property
    def decided(self) -> int:
        """Raw characters that were shown or redacted so far."""
        return self._position + self._passed

    @property
    def hidden(self) -> tuple[tuple[int, int], ...]:
        """Which raw characters redactions stand for, as (start, end), in order."""
        return tuple(self._hidden)

    @property
    def redacted_to(self) -> int:
        """Where the last redaction ended, in raw characters; -1 where none was. It may grow while it is `decided`."""
        return self._redacted_to

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
        released = self.glance(text)
        if released is not None:
            return GateStep(released)
        text = self._tail + text
        self._tail = ""
        if not self._open:
            self._late += len(text)
            return _NOTHING
        self._settle()
        for start in range(0, len(text), _PIECE):
            if self._open:
                self._walk(text[start : start + _PIECE])
                self._advance()
            else:
                self._late += len(text[start : start + _PIECE])
        return self._step()

    def finish(self) -> GateStep:
        """The text has ended; whatever is still held is released, redacted or cut."""
        if not self._open:
            return _NOTHING
        self._settle()
        if self._tail:
            self._walk(self._tail)
            self._tail = ""
        self._scanner.finish()
        self._collect()
        self._try_cut()
        if self._open:
            self._release(self._scanner.at, self._scanner.at)
            self._close()
        self._advance()
        return self._step()

    def summary(self) -> Summary:
        self._settle()
        return Summary(
            policy_version=self._policy.version,
            policy_digest=self._policy.digest,
            seen=tuple(sorted(self._notes.seen)),
            redactions=self._redactions,
            released=self._shown,
            withheld=self._scanner.at + len(self._tail) + self._late - self._kept,
        )

    def __repr__(self) -> str:
        state = "open" if self._open else "cut" if self._cut else "finished"
        return f"<Gate {state} policy={self._policy.version} held={self.held}>"

    def _settle(self) -> None:
        """Tell the scanner what the fast path let through."""
        if self._passed:
            self._scanner.skip(self._passed, self._last)
            self._kept += self._passed
            self._shown += self._passed
            self._position = self._base = self._scanner.at
            self._passed = 0

    def _walk(self, text: str) -> None:
        scanner = self._scanner
        known = self._last + text
        offset = len(self._last)
        self._buffer += text
        index, size = 0, len(text)
        while index < size:
            long = size - index > _SHORT
            behind = index + offset - 1
            if long and scanner.idle and behind >= 0 and known[behind] in PLAIN:
                trigger = scanner.next_trigger(known, behind, len(known))
                following = size if trigger is None else trigger - offset
                if following > index:
                    scanner.skip(following - index, text[following - 1])
                    index = following
                    continue
            # Both a block that waits and the cap are looked at after the very character that decides them.
            room = 1 if self._block is not None else self._position + HOLD_CAP + 1 - scanner.at
            index = scanner.walk(text, index, min(size, index + room), pause=long)
            if scanner.matches:
                self._collect()
            if self._block is not None:
                self._try_cut()
            if scanner.at - self._position > HOLD_CAP and self._open:
                self._relieve()
            if not self._open:
                self._late += size - index
                return
        self._last = text[-1] if scanner.idle and text[-1] in PLAIN else ""

    def _collect(self) -> None:
        """Sort what the scanner found by what is to be done about it."""
        for match in self._scanner.matches:
            tier = self._matcher.tiers[match.rule]
            if tier == SHOW:
                self._notes.add(match)
            elif tier == REDACT:
                last = self._spans[-1] if self._spans else None
                if last is not None and last.start == match.start and last.rule == match.rule:
                    self._spans[-1] = match  # matches come by their ends, so it covers the last one
                else:
                    insort(self._spans, match)
            elif self._block is None or (match.start, match.rule) < (self._block.start, self._block.rule):
                self._block = match
        self._scanner.matches.clear()
        self._scanner.blocked = False

    def _try_cut(self) -> None:
        """Cut, unless a match that began before the blocked one is undecided: it could move the cut or hide more."""
        if self._block is not None and self._hold() >= self._block.start:
            self._end(self._block.start, self._block.rule, "match")

    def _relieve(self) -> None:
        """More than the cap is held, unless what became certain meanwhile is released: let the policy decide."""
        self._release(self._scanner.hold_from(BLOCK), self._hold())
        self._note()
        if self._scanner.at - self._position <= HOLD_CAP:
            return
        suspect = self._scanner.suspect((BLOCK, REDACT))
        if suspect is None:  # only characters that show nothing, before a match that has not begun
            self._scanner.forget_lead()
        elif self._policy.policy.at_hold_cap == "block":
            self._end(self._position, suspect, "hold_cap")
        else:
            self._scanner.forget()
            self._try_cut()

    def _end(self, position: int, rule: int, reason: Literal["match", "hold_cap"]) -> None:
        self._release(position, position)
        self._notes.drop_after(position)
        category, action = self._matcher.rules[rule].category, self._matcher.rules[rule].action
        self._cut = Cut(category, self._policy.version, action, reason)
        self._notes.seen.add((category, action))
        self._close()

    def _close(self) -> None:
        self._open = False
        self._last = ""
        self._spans.clear()
        self._scanner.forget()

    def _hold(self) -> int:
        return min(self._scanner.hold_from(BLOCK), self._scanner.hold_from(REDACT))

    def _advance(self) -> None:
        """Release what is decided; only the held text stays in memory."""
        scanner = self._scanner
        if self._open:
            block_hold = scanner.hold_from(BLOCK)
            self._release(block_hold, min(block_hold, scanner.hold_from(REDACT)))
            self._buffer = self._buffer[self._position - self._base :]
            self._base = self._position
        else:
            self._buffer = ""
        self._note()

    def _step(self) -> GateStep:
        """What was released since the last step."""
        step = GateStep("".join(self._pieces), None if self._open else self._cut, tuple(self._annotations))
        self._pieces.clear()
        self._annotations.clear()
        return step

    def _note(self) -> None:
        if not self._notes.busy:
            return
        decided = min(self._position, self._scanner.hold_from(SHOW)) if self._open else self._position
        self._annotations += self._notes.settle(decided)

    def _release(self, block_hold: int, hold: int) -> None:
        """Show or redact what is decided: text before `hold`, and redactions that begin before `block_hold`.

        Doing so early or late gives the same text: a redaction is carried out when all before it is, and one
        found later either begins after it or continues it.
        """
        while True:
            if self._position == self._redacted_to:
                self._swallow()
            span = self._spans[0] if self._spans else None
            if span is None or span.start > self._position:
                self._show(hold if span is None else min(span.start, hold))
                if span is None or self._position < span.start:
                    return
            elif span.start == self._position and (block_hold <= span.start or hold < span.start):
                return  # what began before may cut here, or join this redaction to the one that it touches
            else:
                self._redact(span)

    def _show(self, end: int) -> None:
        piece = self._buffer[self._position - self._base : max(end - self._base, 0)]
        if not piece:
            return
        self._notes.place(self._position, end, self._shown)
        self._pieces.append(piece)
        self._shown += len(piece)
        self._kept += len(piece)
        self._position = end

    def _redact(self, span: Match) -> None:
        del self._spans[0]
        rule = self._matcher.rules[span.rule]
        self._notes.seen.add((rule.category, rule.action))
        if span.start == self._position:
            self._pieces.append(REDACTED)
            self._shown += len(REDACTED)
            self._redactions += 1
        self._hide(max(self._position, span.end))

    def _hide(self, end: int) -> None:
        """What lies before `end` belongs to the redaction that was shown last."""
        self._hidden.append((self._position, end))
        self._notes.place(self._position, end, self._shown - len(REDACTED), len(REDACTED))
        self._position = self._redacted_to = end

    def _swallow(self) -> None:
        """What shows nothing right after a redacted match belongs to it."""
        fold = self._matcher.fold
        taken = self._scanner.at
        end = self._position
        while end < taken and not fold[self._buffer[end - self._base]]:
            end += 1
        if end > self._position:
            self._hide(end)
