"""What is noted about text that is shown: annotations and flags, placed in the released text."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from app.moderation.match import Match
from app.moderation.policy import Action, Rule


class Annotation(msgspec.Struct, frozen=True):
    """`category` was found in released text from character `start` up to `end`, counted from its beginning."""

    start: int
    end: int
    category: str


class _Place(NamedTuple):
    """Raw text from `raw` up to `raw_end` begins at `shown` in the released text: as it was, or redacted."""

    raw: int
    raw_end: int
    shown: int
    redacted: int  # length of what stands there instead, 0 where nothing does


class Notes:
    """Collects the matches of one response; overlapping ones of a rule are one note."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.seen: set[tuple[str, Action]] = set()  # (category, action) of the rules that took effect
        self.pending: list[Match] = []
        self._rules = rules
        self.used = any(rule.action == "annotate" for rule in rules)
        self._places: list[_Place] = []

    @property
    def busy(self) -> bool:
        return bool(self.pending or self._places)

    def add(self, match: Match) -> None:
        others: list[Match] = []
        for known in self.pending:
            if known.rule == match.rule and known.start < match.end and match.start < known.end:
                match = Match(min(known.start, match.start), max(known.end, match.end), match.rule)
            else:
                others.append(known)
        self.pending = [*others, match]

    def place(self, raw: int, raw_end: int, shown: int, redacted: int = 0) -> None:
        """Text was released. Pieces come in the order of the text. Needed only if `used`."""
        self._places.append(_Place(raw, raw_end, shown, redacted))

    def settle(self, decided: int) -> tuple[Annotation, ...]:
        """The annotations that end within the first `decided` raw characters, in the order of their ends.

        Nothing noted later may begin before `decided`, unless it joins a note still pending.
        """
        due = sorted((match for match in self.pending if match.end <= decided), key=_by_end)
        self.pending = [match for match in self.pending if match.end > decided]
        annotations: list[Annotation] = []
        for match in due:
            rule = self._rules[match.rule]
            self.seen.add((rule.category, rule.action))
            if rule.action == "annotate":
                annotations.append(Annotation(self._start(match.start), self._end(match.end), rule.category))
        oldest = min([decided, *(match.start for match in self.pending)])
        self._places = [place for place in self._places if place.raw_end > oldest]
        return tuple(annotations)

    def drop_after(self, position: int) -> None:
        """The text was cut: nothing from this raw position on was shown or redacted."""
        self.pending = [match for match in self.pending if match.end <= position]

    def _start(self, raw: int) -> int:
        place = next(place for place in reversed(self._places) if place.raw <= raw)
        return place.shown + (0 if place.redacted else min(raw, place.raw_end) - place.raw)

    def _end(self, raw: int) -> int:
        place = next(place for place in reversed(self._places) if place.raw < raw)
        return place.shown + (place.redacted or min(raw, place.raw_end) - place.raw)


def _by_end(match: Match) -> tuple[int, int, int]:
    return match.end, match.start, match.rule
