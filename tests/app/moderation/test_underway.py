"""Texts taken in strides, over the same character again and again, in lines and out of them: as one by one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.moderation import CompiledPolicy, Gate, compile_policy, load_policy
from app.moderation.scanner import Scanner
from app.moderation.verdict import find
from tests.app.moderation.oracle import OracleRule, matches_by_beginning, outcome
from tests.app.moderation.running import policy, run

SHIPPED = compile_policy(load_policy())
_RUNS = st.builds(lambda char, count: char * count, st.sampled_from("--=a4 .\u200b"), st.integers(1, 60))
_WORDS = st.sampled_from(["sk-", "eyj", ".eyj", "begin ", "private key", "xoxb-", "DE89 ", "aiza", "1111"])
_TEXT = st.lists(_RUNS | _WORDS, max_size=14).map("".join)


def of(pattern: str, *more: str, action: str = "redact") -> CompiledPolicy:
    return policy("[[rule]]", 'category = "pii"', f'action = "{action}"', f"patterns = ['{pattern}']", *more)


DASHES = (r"-{3,5}b", r"(?:-a?){4,9}b", r"a-{2,70}b|--c", r"(?<!a)-{7}(?!-)")


@settings(max_examples=150, deadline=None)
@given(text=_TEXT, split=st.integers(0, 60))
def test_a_long_delta_is_decided_like_its_characters(text: str, split: int) -> None:
    slow, fast = Gate(SHIPPED), Gate(SHIPPED)
    released = "".join(slow.push(char).released for char in text)
    assert fast.push(text[:split]).released + fast.push(text[split:]).released == released
    assert (fast.held, fast.decided) == (slow.held, slow.decided)
    assert fast.finish() == slow.finish()
    assert fast.summary() == slow.summary()


@settings(max_examples=60, deadline=None)
@given(
    pattern=st.sampled_from(DASHES),
    text=st.lists(st.integers(1, 40).map("-".__mul__) | st.sampled_from("abc"), max_size=8).map("".join),
)
def test_places_are_right_after_a_long_run_of_one_character(pattern: str, text: str) -> None:
    expected = outcome(text, [OracleRule("redact", "pii", patterns=(pattern,))], matches_by_beginning)
    assert run(of(pattern), [text]).released == expected.released


@pytest.mark.parametrize("count", range(15, 24))
def test_a_match_leaves_its_line_only_when_it_has_counted_enough(count: int) -> None:
    text = f"-{'a' * count}1"
    expected = [(0, count + 2)] if 18 <= count <= 21 else []
    assert [match[:2] for match in find(of(r"-[ab]{18,21}1").every, text)] == expected


@pytest.mark.parametrize("count", range(15, 24))
def test_a_match_in_line_that_waits_for_what_follows_is_found_at_the_end_if_it_has_counted_enough(
    count: int,
) -> None:
    wanted = of(r"-[ab]{18,21}(?!\w)").every
    for end in ("", "!"):
        found = [match[:2] for match in find(wanted, f"-{'a' * count}{end}")]
        assert found == ([(0, count + 1)] if 18 <= count <= 21 else [])


@pytest.mark.parametrize("size", [1, 2, 7, 23, 24, 25, 60])
def test_a_match_that_lasts_over_many_deltas_is_noted_once(size: int) -> None:
    text = f"{'- a' * 3}-{'ab' * 12}! {'ab' * 12}-"
    noted = of("(?<!b)(?:ab){9,}", "max_width = 80", action="annotate")
    ran = run(noted, [text[start : start + size] for start in range(0, len(text), size)])
    assert ran.notes == [(10, 34, "pii"), (36, 60, "pii")]


def test_what_is_under_way_shows_no_text() -> None:
    fresh = compile_policy(load_policy())  # what is kept depends on what a policy has read
    scanner = Scanner(fresh.output)
    scanner.walk("xyzzy sk-xyzzyxyzzy", 0, 19, pause=False)
    assert repr(scanner._underway) == "<Underway <Crowd of 0 in 0 slots, 1 lines> <Lines 1 of 1>>"
    assert repr(scanner._window) == "<Window of 18>"
