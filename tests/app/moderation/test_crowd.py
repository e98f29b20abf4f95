"""Many runs of one pattern at once: what is found is what brute force finds, merged, counted or crowded."""

from __future__ import annotations

from random import Random

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.moderation.matcher import CompiledPolicy
from app.moderation.scanner import Scanner
from app.moderation.standing import MOST_RUNS
from app.moderation.verdict import find
from app.moderation.verify import VERIFIERS
from tests.app.moderation.oracle import OracleRule, all_matches
from tests.app.moderation.running import policy, run

PATTERNS = (
    r"a-[ab-]{17,20}",
    r"a-[ab-]{17,20}(?![ab-])",
    r"(?<!\w)a[ab1-]{3,18}(?!\w)",
    r"[ab]{2,18}1",
    r"[ab1]{18}1",
    r"(?:a|b-)[ab]{1,17}1b?",
    r"a[ab]{1,17}b[a1]{1,17}-",
    r"a(?:b{1,17}-)?1",
    r"(?:a-){1,3}[ab]{1,18}1",
    r"a[ab]{1,17}(?<=b)",
    r"(?:ab-|b)[ab-]{17,20}1",  # what begins later may count for longer
    r"(?:[ab]{5,17}1?){1,2}-",  # leaves its count at each character, and counts again
    r"b(?:[ab]{6,17}-?)[ab]{6,20}1",
    r"(?:[ab]{1,17}1)+-",
)


def compiled(pattern: str, verify: str | None, *more: str) -> CompiledPolicy:
    checks = [] if verify is None else [f'verify = "{verify}"']
    return policy(
        "[[rule]]", 'category = "pii"', 'action = "redact"', f"patterns = ['{pattern}']", *checks, *more
    )


def by_brute_force(text: str, pattern: str, verify: str | None) -> list[tuple[int, int]]:
    found = all_matches(text, [OracleRule("redact", "pii", patterns=(pattern,))])
    extents = sorted((match.start, match.end) for match in found)
    joined: list[tuple[int, int]] = []
    for start, end in extents:
        if verify and not VERIFIERS[verify](text[start:end]):
            continue
        if joined and start < joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


def found(policy: CompiledPolicy, text: str) -> list[tuple[int, int]]:
    return [(match.start, match.end) for match in find(policy.every, text)]


_PIECES = st.sampled_from(["a-", "a-a-", "ab", "b", "1", "-", " ", "aaaabbbb", "ba1", "11"])


@pytest.mark.parametrize("verify", [None, "mixed", "luhn"])
@pytest.mark.parametrize("pattern", [pattern for pattern in PATTERNS if not pattern.endswith("+-")])
@settings(max_examples=12, deadline=None)
@example(text="a-a-a-" + "aaaabbbb" * 4 + "a-")  # more at once than are followed one by one
@given(text=st.lists(_PIECES, min_size=8, max_size=24).map("".join))
def test_all_that_brute_force_finds_is_found(pattern: str, verify: str | None, text: str) -> None:
    matches, expected = found(compiled(pattern, verify), text), by_brute_force(text, pattern, verify)
    if verify is None or most_under_way(text, pattern) <= MOST_RUNS:
        assert matches == expected
    else:  # the last ones are followed as one, whose check counts as passed
        assert all(any(first <= start and end <= last for first, last in matches) for start, end in expected)


def most_under_way(text: str, pattern: str) -> int:
    """How many matches may have begun and not ended, at the character where they are most."""
    whole = regex.compile(pattern)
    begun = (
        sum(whole.fullmatch(text, start, end, partial=True) is not None for start in range(end))
        for end in range(1, len(text) + 1)
    )
    return max(begun)


@pytest.mark.parametrize(
    "pattern",
    [PATTERNS[-1], r"a[ab]{17,}", r"(?<!\w)a-[ab]{17,}(?!\w)", r"(?:ab|b)[ab]{18,}1", r"[ab1]{20,}-b*"],
)
def test_open_repeats_are_found(pattern: str) -> None:
    random = Random(7)
    wide = compiled(pattern, None, "max_width = 200")
    for _ in range(30):
        text = "".join(random.choice(("a", "b", "ab", "abbaabba", "-", "1", " ", "a-")) for _ in range(25))
        assert found(wide, text) == by_brute_force(text, pattern, None)


@pytest.mark.parametrize(
    "pattern", [r"(?:ab-|b)[ab-]{17,20}1", r"(?:[ab]{5,17}1?){1,2}-", r"(?:a-){1,3}[ab]{1,18}1"]
)
def test_what_cannot_wait_in_line_is_found(pattern: str) -> None:
    random = Random(9)
    policy = compiled(pattern, None)
    for _ in range(40):
        text = "".join(random.choice(("ab-", "b", "ab", "a-", "bbb", "1")) for _ in range(25))
        assert found(policy, text) == by_brute_force(text, pattern, None)


def test_a_line_goes_on_when_those_that_came_first_have_counted_all_they_can() -> None:
    # Of the four lines' members only the later ones are still counting when the text's end comes.
    lasting = compiled(r"-[a-]{20,30}!", None)
    text = "-aaa" * 20 + "!"
    assert found(lasting, text) == by_brute_force(text, r"-[a-]{20,30}!", None) == [(52, 81)]


def test_an_open_repeat_ends_where_its_width_is_spent() -> None:
    wide = compiled(r"a[ab]{17,}|b-", None, "max_width = 30")
    assert found(wide, "-a" + "b" * 40 + "-") == [(1, 31), (41, 43)]


def runs_at_once(policy: CompiledPolicy, text: str) -> int:
    scanner = Scanner(policy.every)
    most = 0
    for char in text:
        scanner.take(char)
        most = max(most, len(scanner._underway.crowd.slots))
    return most


CROWDED = r"(?:a|b-){20,60}!"  # no counted repeat of one set, so each beginning is a run of its own


def test_a_crowd_is_bounded_and_covers_what_it_finds() -> None:
    crowd = compiled(CROWDED, None)
    text = "ab-" * 30 + "!" + " a" * 3 + "!"
    assert runs_at_once(crowd, text) == MOST_RUNS
    (exact,) = by_brute_force(text, CROWDED, None)
    ((start, end),) = found(crowd, text)
    assert start <= exact[0]
    assert end == exact[1]


def test_a_crowd_of_checked_runs_covers_every_one_that_passes() -> None:
    # Only what begins last passes the check, and that run is not followed by itself any more.
    pattern = r"(?:\d| \d){16,40}!"
    text = " 1" * 32 + " 4111111111111111!"
    exact = by_brute_force(text, pattern, "luhn")
    ((start, end),) = found(compiled(pattern, "luhn"), text)
    assert exact
    assert start <= exact[0][0]
    assert end == exact[-1][1]


def test_a_crowd_that_ends_leaves_nothing_behind() -> None:
    crowd = compiled(CROWDED, None)
    assert run(crowd, list("ab-" * 30 + "? done")).released == "ab-" * 30 + "? done"


@pytest.mark.parametrize("limit", ["_CROWDS", "_MOVES"])
def test_the_memo_of_crowds_is_bounded_and_can_be_forgotten(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    random = Random(3)
    text = "".join(random.choice(("a", "b-", "b", "a!", " ")) for _ in range(400))
    expected = found(compiled(CROWDED, None), text)
    monkeypatch.setattr(f"app.moderation.crowds.{limit}", 5)
    small = compiled(CROWDED, None)
    assert found(small, text) == expected
    crowds = small.every.crowds._known.values()
    assert len(crowds) <= 6
    assert sum(len(crowd.moves) + len(crowd.entered) for crowd in crowds) <= 5


def test_a_text_goes_on_when_all_crowds_are_forgotten_in_its_midst() -> None:
    crowd = compiled(CROWDED, None)
    scanner = Scanner(crowd.every)
    for char in "ab-" * 10:
        scanner.take(char)
        crowd.every.crowds._forget()
    scanner.take("!")
    assert [(match.start, match.end) for match in scanner.matches] == [(0, 31)]


def test_reprs_say_how_many_and_nothing_of_the_text() -> None:
    scanner = Scanner(compiled(PATTERNS[0], None).every)
    for char in "a-ab-a-bbbb":
        scanner.take(char)
    assert repr(scanner._underway.crowd) == "<Crowd of 0 in 0 slots, 1 lines>"
    assert repr(scanner._underway._lines) == "<Lines 1 of 2>"
    assert repr(scanner) == "<Scanner at=11 <Crowd of 0 in 0 slots, 1 lines>>"
    scanner.take("a")
    assert repr(scanner._underway.crowd) == "<Crowd of 1 in 1 slots, 1 lines>"
    assert repr(scanner._matcher.crowds).startswith("<Crowds ")
    assert repr(scanner._matcher.kinds) == "<Kinds 0 characters>"


def test_a_pattern_ends_at_its_width_from_the_first_character_on() -> None:
    narrow = policy(
        "[[rule]]", 'category = "pii"', 'action = "redact"', "max_width = 2", "patterns = ['ab[bc]c*']"
    )
    assert run(narrow, list("abc abb")).released == "abc abb"
