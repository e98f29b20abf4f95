"""The held text, and how it leaves: as it is, or with `[redacted]` for the union of overlapping matches."""

from __future__ import annotations

from bisect import insort
from typing import Final

from app.moderation.match import Match
from app.moderation.matcher import Matcher
from app.moderation.notes import Annotation, Notes
from app.moderation.outcome import Cut, GateStep

REDACTED: Final = "[redacted]"


class Release:
    """Positions are raw. `position`: before it all is shown or redacted. `shown`: characters that went out, `kept`: raw
    ones that did so as they were. `redacted_to`: where the last redaction ended, -1 where none was. `hidden`: which
    raw characters redactions stand for, in order: (start, end, characters shown up to that end)."""

    __slots__ = (
        "_annotations",
        "_base",
        "_buffer",
        "_fold",
        "_pieces",
        "_rules",
        "_spans",
        "hidden",
        "kept",
        "notes",
        "position",
        "redacted_to",
        "redactions",
        "shown",
    )

    def __init__(self, matcher: Matcher) -> None:
        self.notes = Notes(matcher.rules)
        self.position = 0
        self.redacted_to = -1
        self.hidden: list[tuple[int, int, int]] = []
        self.shown = 0
        self.kept = 0
        self.redactions = 0
        self._fold = matcher.fold
        self._rules = matcher.rules
        self._buffer = ""  # raw text from `_base` on, what was released of this push included
        self._base = 0
        self._spans: list[Match] = []  # redactions found and not yet carried out, sorted
        self._pieces: list[str] = []
        self._annotations: list[Annotation] = []

    @property
    def held(self) -> int:
        return len(self._buffer)

    def take(self, text: str) -> None:
        self._buffer += text

    def pass_by(self, count: int) -> None:
        """So many characters went out another way, while nothing was held."""
        self.kept += count
        self.shown += count
        self.position = self._base = self.position + count

    def redact(self, match: Match) -> None:
        """To be carried out when all before it is decided."""
        spans = self._spans
        if spans and spans[-1].start == match.start and spans[-1].rule == match.rule:
            spans[-1] = match  # matches come by their ends, so it covers the last one
        else:
            insort(spans, match)

    def advance(self, block_hold: int, hold: int, taken: int) -> None:
        """Show or redact what is decided: text before `hold`, and redactions that begin before `block_hold`.

        Doing so early or late gives the same text: a redaction is carried out when all before it is, and one
        found later either begins after it or continues it. `taken`: how far the text has been looked at.
        """
        if not self._spans and self.position != self.redacted_to:
            self._show(hold)
            return
        while True:
            if self.position == self.redacted_to:
                self._swallow(taken)
            span = self._spans[0] if self._spans else None
            if span is None or span.start > self.position:
                self._show(hold if span is None else min(span.start, hold))
                if span is None or self.position < span.start:
                    return
            elif span.start == self.position and (block_hold <= span.start or hold < span.start):
                return  # what began before may cut here, or join this redaction to the one that it touches
            else:
                self._redact(span)

    def note(self, decided: int) -> None:
        """Annotate what ends within so many characters; see `Notes.settle`."""
        self._annotations += self.notes.settle(decided)

    def drop_decided(self) -> None:
        """Only the held text stays in memory."""
        if self.position != self._base:
            self._buffer = self._buffer[self.position - self._base :]
            self._base = self.position

    def end(self) -> None:
        """Nothing more goes out."""
        self._buffer = ""
        self._base = self.position
        self._spans.clear()

    def step(self, cut: Cut | None) -> GateStep:
        """What was released since the last step."""
        pieces, annotations = self._pieces, self._annotations
        self._pieces, self._annotations = [], []
        return GateStep("".join(pieces), cut, tuple(annotations))

    def __repr__(self) -> str:
        return f"<Release position={self.position} held={self.held}>"

    def _show(self, end: int) -> None:
        if end <= self.position:
            return
        piece = self._buffer[self.position - self._base : end - self._base]
        if self.notes.used:
            self.notes.place(self.position, end, self.shown)
        self._pieces.append(piece)
        self.shown += len(piece)
        self.kept += len(piece)
        self.position = end

    def _redact(self, span: Match) -> None:
        del self._spans[0]
        rule = self._rules[span.rule]
        self.notes.seen.add((rule.category, rule.action))
        if span.start == self.position:
            self._pieces.append(REDACTED)
            self.shown += len(REDACTED)
            self.redactions += 1
        self._hide(max(self.position, span.end))

    def _hide(self, end: int) -> None:
        """What lies before `end` belongs to the redaction that was shown last."""
        self.hidden.append((self.position, end, self.shown))
        if self.notes.used:
            self.notes.place(self.position, end, self.shown - len(REDACTED), len(REDACTED))
        self.position = self.redacted_to = end

    def _swallow(self, taken: int) -> None:
        """What shows nothing right after a redacted match belongs to it."""
        end = self.position
        while end < taken and not self._fold[self._buffer[end - self._base]]:
            end += 1
        if end > self.position:
            self._hide(end)
