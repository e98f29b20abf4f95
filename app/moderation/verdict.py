"""Moderation of a text that is there as a whole: a turn's input, or what a client asks about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.moderation.match import Match
from app.moderation.matcher import CompiledPolicy, Matcher
from app.moderation.outcome import Cut
from app.moderation.policy import BLOCK, REDACT, Action
from app.moderation.prefilter import PLAIN
from app.moderation.release import REDACTED
from app.moderation.scanner import Scanner
from protocol.moderation import CATEGORIES

Stop = Callable[[], bool]

# Characters between two questions whether to go on; also what one search holds the interpreter for, 1 ms at most.
_PIECE: Final = 4096
_STRIDE: Final = 32  # characters that are taken before it is asked again whether plain text may be skipped
_WORTH: Final = 6  # characters skipped for which the search was worth it


@dataclass(frozen=True, slots=True)
class Verdict:
    """`text` is what may be used: redacted, and empty where blocked. `seen`: (category, action) of each rule found."""

    policy_version: str
    blocked: Cut | None
    seen: tuple[tuple[str, Action], ...]
    text: str

    def __repr__(self) -> str:
        return f"<Verdict policy={self.policy_version} blocked={self.blocked} seen={self.seen}>"


class Abandoned(Exception):
    """The caller's `stop` said that nobody waits for the answer any more."""


def check_input(compiled: CompiledPolicy, text: str, stop: Stop | None = None) -> Verdict:
    """What the rules for input say about a text. Nothing is held here, so the hold's cap plays no part.

    `stop` is asked every few thousand characters, from this thread; if it is true `Abandoned` is raised.
    """
    matcher = compiled.input
    matches = find(matcher, text, stop)
    rules = matcher.rules
    blocks = [match for match in matches if matcher.tiers[match.rule] == BLOCK]
    blocked = None
    if blocks:
        rule = rules[min(blocks, key=lambda match: (match.start, match.rule)).rule]
        blocked = Cut(rule.category, compiled.version, rule.action)
    seen = tuple(sorted({(rules[match.rule].category, rules[match.rule].action) for match in matches}))
    hidden = [match for match in matches if matcher.tiers[match.rule] == REDACT]
    return Verdict(compiled.version, blocked, seen, "" if blocked else _redact(matcher, text, hidden))


def category_scores(compiled: CompiledPolicy, text: str, stop: Stop | None = None) -> dict[str, float]:
    """What the rules of both directions find in a text: the policy's own categories too, 1 where found, else 0.

    A rule finds its text or does not, so there is nothing in between. `stop` as in `check_input`.
    """
    rules = compiled.every.rules
    found = {rules[match.rule].category for match in find(compiled.every, text, stop)}
    others = sorted({rule.category for rule in rules} - set(CATEGORIES))
    return {category: float(category in found) for category in (*CATEGORIES, *others)}


def find(matcher: Matcher, text: str, stop: Stop | None = None) -> list[Match]:
    """All matches in a text, overlapping ones of one rule joined, in the order of their beginnings."""
    scanner = Scanner(matcher)
    joined: list[list[Match]] = [[] for _ in matcher.rules]
    if matcher.rules:
        for start in range(0, len(text), _PIECE):
            if stop is not None and stop():
                raise Abandoned
            _scan(scanner, text, start, min(start + _PIECE, len(text)), joined)
    scanner.finish()
    _join(joined, scanner.matches)
    return sorted(match for matches in joined for match in matches)


def _scan(scanner: Scanner, text: str, index: int, end: int, joined: list[list[Match]]) -> None:
    skipping = True  # plain text, where that has been worth the search
    while index < end:
        if skipping and scanner.idle and index and text[index - 1] in PLAIN:
            following = scanner.next_trigger(text, index - 1, end)
            following = end if following is None else following
            skipping = following - index >= _WORTH
            if following > index:
                scanner.skip(following - index, text[following - 1])
                index = following
                continue
        pause = skipping and text[index] in PLAIN
        index = scanner.walk(text, index, end if pause else min(index + _STRIDE, end), pause)
        skipping = True
        if scanner.matches:
            _join(joined, scanner.matches)
            scanner.blocked = False


def _join(joined: list[list[Match]], matches: list[Match]) -> None:
    # Matches come by their ends, so whatever one overlaps stands last among those of its rule.
    for match in matches:
        known = joined[match.rule]
        start = match.start
        while known and known[-1].end > match.start:
            start = min(start, known.pop().start)
        known.append(Match(start, match.end, match.rule))
    matches.clear()


def _redact(matcher: Matcher, text: str, hidden: list[Match]) -> str:
    """`hidden` is sorted. As in the gate: one `[redacted]` for a union, with what shows nothing behind it."""
    pieces: list[str] = []
    done = 0
    for start, end, _rule in hidden:
        if start >= done:
            pieces += [text[done:start], REDACTED]
        done = max(done, end)
        while done < len(text) and not matcher.fold[text[done]]:
            done += 1
    return "".join([*pieces, text[done:]])
