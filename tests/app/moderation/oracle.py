"""A slow, plain second opinion on what a gate must do: brute force over the whole text, no streaming.

It shares no code with the gate. Folding is written out again for the characters the tests use, terms are
found by `re`, patterns by trying every substring, and what is undecided by `regex`'s partial matching.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import regex

TWINS = {
    **dict(zip("асеоріѕхуԁһ", "aceopisxydh", strict=True)),
    **dict(zip("АСЕОРІЅХУԀҺ", "aceopisxydh", strict=True)),
    **dict(zip("αοε", "aoe", strict=True)),
}
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789 -._!/"
END = "\uffff"  # in no folded text


@dataclass(frozen=True)
class OracleRule:
    action: str
    category: str
    terms: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    substring: bool = False

    @property
    def hard(self) -> bool:
        return self.action in ("block", "redact")

    def expressions(self) -> list[str]:
        ends = ("", "") if self.substring else (r"(?<!\w)", r"(?!\w)")
        return [f"{ends[0]}{re.escape(term)}{ends[1]}" for term in self.terms] + list(self.patterns)


@dataclass(frozen=True)
class Extent:
    start: int
    end: int
    rule: int


@dataclass(frozen=True)
class Outcome:
    released: str
    cut: str | None  # category


Find = Callable[[str, list[OracleRule]], list[Extent]]


@cache
def fold_char(char: str) -> str:
    text = unicodedata.normalize("NFKD", char)
    text = "".join(TWINS.get(part, part) for part in text).casefold()
    kept = [part for part in text if unicodedata.category(part) not in ("Cf", "Mn", "Me")]
    return "".join(" " if part.isspace() else part for part in kept)


class Folded:
    """Folded text; `starts` and `ends` are the raw extents of its characters, invisible ones before them included."""

    def __init__(self, raw: str) -> None:
        self.text = ""
        self.starts: list[int] = []
        self.ends: list[int] = []
        lead, spaces = 0, 0
        for index, char in enumerate(raw):
            folded = fold_char(char)
            if not folded:
                continue
            spaces = spaces + 1 if folded == " " else 0
            if spaces <= 1:  # the tests use no runs of more than 16
                self.text += folded
                self.starts += [lead] * len(folded)
                self.ends += [index + 1] * len(folded)
            lead = index + 1
        self.lead = lead  # where invisible characters at the end begin


@cache
def _up_to_end(expression: str, left: int) -> re.Pattern[str]:
    return re.compile(rf"(?:{expression})(?=[\s\S]{{{left}}}\Z)", re.IGNORECASE)


@cache
def _alive(expression: str) -> regex.Pattern[str]:
    return regex.compile(f"(?:{expression}){END}", regex.IGNORECASE)


def all_matches(raw: str, rules: list[OracleRule]) -> list[Extent]:
    """Every substring that a rule matches."""
    folded = Folded(raw)
    size = len(folded.text)
    found: list[Extent] = []
    for number, rule in enumerate(rules):
        for expression in rule.expressions():
            found += [
                Extent(folded.starts[start], folded.ends[end - 1], number)
                for start in range(size)
                for end in range(start + 1, size + 1)
                if _up_to_end(expression, size - end).match(folded.text, start)
            ]
    return found


def matches_by_beginning(raw: str, rules: list[OracleRule]) -> list[Extent]:
    """The same for expressions of which at most one match begins at a place; much faster."""
    folded = Folded(raw)
    return [
        Extent(folded.starts[found.start(1)], folded.ends[found.end(1) - 1], number)
        for number, rule in enumerate(rules)
        for expression in rule.expressions()
        for found in _anywhere(expression).finditer(folded.text)
    ]


@cache
def _anywhere(expression: str) -> re.Pattern[str]:
    return re.compile(f"(?=({expression}))", re.IGNORECASE)


def outcome(raw: str, rules: list[OracleRule], find: Find = all_matches) -> Outcome:
    """What must have been released in the end, and where it is cut."""
    matches = find(raw, rules)
    blocks = [match for match in matches if rules[match.rule].action == "block"]
    first = min(blocks, key=lambda match: match.start, default=None)
    limit = len(raw) if first is None else first.start
    released, position = "", 0
    for span in sorted((m.start, m.end) for m in matches if rules[m.rule].action == "redact"):
        if span[0] >= limit:
            break
        if span[0] >= position:
            released += raw[position : span[0]] + "[redacted]"
        position = max(position, span[1])
        while position < len(raw) and not fold_char(raw[position]):
            position += 1
    released += raw[position:limit]
    return Outcome(released, None if first is None else rules[first.rule].category)


def undecided_from(raw: str, rules: list[OracleRule]) -> dict[str, int]:
    """Action -> raw position from which on some text that follows may still bring a match of that action."""
    folded = Folded(raw)
    size = len(folded.text)
    found: dict[str, int] = {}
    for rule in rules:
        for expression in rule.expressions():
            begins = [
                start for start in range(size) if _alive(expression).match(folded.text, start, partial=True)
            ]
            position = folded.starts[begins[0]] if begins else len(raw)
            if not begins and folded.lead < len(raw) and _may_begin(expression, folded.text):
                position = folded.lead
            found[rule.action] = min(position, found.get(rule.action, len(raw)))
    return found


@cache
def _may_begin(expression: str, behind: str) -> bool:
    return any(_alive(expression).match(behind + char, len(behind), partial=True) for char in ALPHABET)


def most_held(raw: str, rules: list[OracleRule], find: Find = all_matches) -> int:
    """How many characters a gate that was given exactly this much text may hold at most.

    All from the first place where a block or a redaction may still begin, save what is redacted already.
    """
    undecided = undecided_from(raw, rules)
    block = undecided.get("block", len(raw))
    hold = min(block, undecided.get("redact", len(raw)))
    position = 0
    # A match that waits for a word's end is among the undecided, so those found in `raw` alone count only before.
    for match in sorted((m.start, m.end) for m in decided_redactions(raw, rules, find)):
        if match[0] >= position and (match[0] > hold or match[0] == block):
            break  # what overlaps the redaction before it is part of that one
        position = max(position, match[1])
        while position < len(raw) and not fold_char(raw[position]):
            position += 1
    return len(raw) - max(hold, position)


def decided_redactions(raw: str, rules: list[OracleRule], find: Find) -> list[Extent]:
    """Redactions that are certain whatever follows: found with every next character, and with none."""
    redacting = [rule if rule.action == "redact" else OracleRule("flag", "") for rule in rules]
    sure = set(find(raw, redacting))
    for following in "a !":
        sure &= set(find(raw + following, redacting))
    return sorted(sure, key=lambda match: (match.start, match.end))
