"""Patterns: what is refused and why, and that what is taken means what `re` means."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.moderation.charsets import CharSets
from app.moderation.syntax import parse
from tests.app.moderation.oracle import OracleRule, all_matches
from tests.app.moderation.running import compiled, policy


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("a(b", "is no regular expression (at position 1)"),
        ("[z-a]", "is no regular expression (at position 1)"),
        ("a{99999999999999999999}", "is no regular expression (too large)"),
        (r"(a)\1", "uses a back reference, which cannot be matched in a stream"),
        (r"(a)?(?(1)b|c)", "uses a conditional group, which cannot be matched in a stream"),
        ("(?>a|ab)c", "uses an atomic group, which cannot be matched in a stream"),
        ("a++b", "uses a possessive repeat, which cannot be matched in a stream"),
        ("a(?=bc)", "looks around at more than one character"),
        ("(?<!ab)c", "looks around at more than one character"),
        (r"a(?=\b)", "looks around at more than one character"),
        ("a*", "matches the empty text"),
        ("", "matches the empty text"),
        ("(?:ab{50}){200}", "is too large (more than 5000 states once its repeats are written out)"),
        ("a\u200bb", "contains a character that folding removes, so it can never match"),
        ("(?s:a.)b", "uses flags inside the pattern"),
    ],
)
def test_a_pattern_that_cannot_be_followed_is_refused_by_name(pattern: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        parse(pattern, CharSets())


@pytest.mark.parametrize(
    ("pattern", "narrowest", "widest"), [("ab?c{2,3}", 3, 5), ("a+", 1, None), (r"\ba{2,}\b", 2, None)]
)
def test_widths(pattern: str, narrowest: int, widest: int | None) -> None:
    program = parse(pattern, CharSets())
    assert (program.narrowest, program.widest) == (narrowest, widest)


_PATTERNS = (
    "abc",
    "a.c",
    "[^ab]c",
    "[^a]",
    r"\w\W\w",
    r"\d\D\s\S",
    "a|bc|(?:d|e)f",
    "(?i:A)b",
    "(a|b){2}c?",
    "a{2,3}?",
    "(?:a?b?){1,3}c",
    r"\Bb",
    r"b\B",
    r"\bb\b",
    "^a",
    "c$",
    r"\Aab\Z",
    "(?<=a)b",
    "(?<![a-c])a",
    "b(?=[^b])",
    r"b(?!\w)",
    "a(?=.)",
    "(?<=.)c",
    "É1",
    "ß",
    "[é-ü]",
    "[A-C][1-2]",
    "a-b",
    "a[^b]b",
    "(?:ab|a)(?:bc|c)",
)
_TEXT = st.text(st.sampled_from("aabbccddef12 -!sÉßü"), max_size=14)


@settings(max_examples=200, deadline=None)
@given(pattern=st.sampled_from(_PATTERNS), text=_TEXT)
def test_a_pattern_matches_the_substrings_that_re_matches(pattern: str, text: str) -> None:
    from app.moderation.verdict import find

    # The oracle's `re` sees folded text, so what a pattern says of other letters is folded for it as well.
    folded = pattern.replace("É", "e").replace("ß", "ss").replace("[é-ü]", "[^\\s\\S]")
    rule = OracleRule("flag", "hate", patterns=(folded,))
    ours = find(compiled([OracleRule("flag", "hate", patterns=(pattern,))]).every, text)
    covered = {place for match in ours for place in range(match.start, match.end)}
    expected = {place for match in all_matches(text, [rule]) for place in range(match.start, match.end)}
    assert covered == expected


def test_an_unbounded_repeat_is_followed() -> None:
    from app.moderation.verdict import find

    keys = policy("[[rule]]\ncategory = 'pii'\naction = 'flag'\nmax_width = 60\npatterns = ['k-(?:ab?)+!']")
    assert [match[:2] for match in find(keys.every, "x k-aababa! k-b! k-" + "a" * 80 + "!")] == [(2, 11)]
    nested = policy("[[rule]]\ncategory = 'pii'\naction = 'flag'\nmax_width = 60\npatterns = ['a(?:b*c*)*d']")
    assert [match[:2] for match in find(nested.every, "abbccbd ad acx")] == [(0, 7), (8, 10)]


def test_states_show_no_pattern() -> None:
    assert "secret" not in repr(parse("secret", CharSets()))
