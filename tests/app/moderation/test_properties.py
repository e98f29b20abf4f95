"""Whatever the policy, the text and the split: the gate does what brute force says, and holds no more."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.moderation import Gate
from tests.app.moderation.oracle import OracleRule, most_held, outcome
from tests.app.moderation.running import compiled, run

_FIXTURE = [HealthCheck.function_scoped_fixture]  # it changes nothing between examples
_ACTIONS = ("block", "redact", "annotate", "flag")
_PATTERNS = (
    r"\d{3}-\d{2}",
    r"\b\d{2,4}\b",
    r"(?<!\w)[ab]c{1,3}(?!\w)",
    r"a[^b]{0,2}b",
    r"(?:ab|ba){2}",
    r"a(?:bc)?",
    r"ab?(?=c)",
    r"(?<=a)b{2}",
    r"b{1,3}?c?a{2}",
    r"[A-C]1",
    r"a[abc]{1,4}(?![abc])",
    r"[ab]{2,3}[bc]{1,2}a",
)
_TEXT = st.text(
    st.sampled_from("aaabbbccc11 2-é!\u200b\u0301аｂСｃÁﬁ\n") | st.sampled_from("abc "), max_size=18
)
_TERMS = st.lists(
    st.text(st.sampled_from("abc "), min_size=1, max_size=4).map(lambda t: " ".join(t.split())).filter(bool),
    min_size=1,
    max_size=3,
    unique=True,
)


@st.composite
def _rules(draw: st.DrawFn) -> list[OracleRule]:
    rules: list[OracleRule] = []
    for number in range(draw(st.integers(1, 3))):
        action, category = draw(st.sampled_from(_ACTIONS)), f"custom/c{number}"
        kind = draw(st.sampled_from(("terms", "patterns", "both")))
        terms = () if kind == "patterns" else tuple(draw(_TERMS))
        patterns = () if kind == "terms" else (draw(st.sampled_from(_PATTERNS)),)
        rules.append(OracleRule(action, category, terms, patterns, substring=draw(st.booleans())))
    return rules


@pytest.fixture(params=["written out", "counted"], autouse=True)
def repeats(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short repeats, too, are counted in a line instead of being followed state by state."""
    if request.param == "counted":
        monkeypatch.setattr("app.moderation.syntax._LONG", 2)


@settings(max_examples=150, deadline=None, suppress_health_check=_FIXTURE)
@given(rules=_rules(), text=_TEXT)
def test_what_is_released_and_cut_is_what_brute_force_says(rules: list[OracleRule], text: str) -> None:
    ran = run(compiled(rules), list(text))
    expected = outcome(text, rules)
    assert ran.released == expected.released
    assert (ran.cut is None) == (expected.cut is None)


@settings(max_examples=150, deadline=None, suppress_health_check=_FIXTURE)
@given(rules=_rules(), text=_TEXT)
def test_exactly_the_undecided_end_is_held_after_every_character(rules: list[OracleRule], text: str) -> None:
    gate = Gate(compiled(rules))
    for index, char in enumerate(text):
        if gate.push(char).cut:
            assert gate.held == 0
            return
        assert gate.held == most_held(text[: index + 1], rules), text[: index + 1]


@settings(max_examples=100, deadline=None, suppress_health_check=_FIXTURE)
@given(rules=_rules(), text=_TEXT)
def test_every_split_in_two_and_single_characters_give_the_same(rules: list[OracleRule], text: str) -> None:
    policy = compiled(rules)
    whole = run(policy, [text])
    assert run(policy, list(text)) == whole
    for place in range(len(text) + 1):
        assert run(policy, [text[:place], text[place:]]) == whole


@settings(max_examples=60, deadline=None, suppress_health_check=_FIXTURE)
@given(rules=_rules(), text=_TEXT, data=st.data())
def test_any_split_gives_the_same(rules: list[OracleRule], text: str, data: st.DataObject) -> None:
    policy = compiled(rules)
    places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    bounds = [0, *places, len(text)]
    deltas = [text[start:end] for start, end in pairwise(bounds)]
    assert run(policy, deltas) == run(policy, [text])


@settings(max_examples=60, deadline=None, suppress_health_check=_FIXTURE)
@given(
    patterns=st.lists(
        st.sampled_from(("b.{1,4}", "a.{0,3}c", "a(?:bc)?", "c\\b", "[ab]{1,4}c")), min_size=3, max_size=3
    ),
    text=st.text(st.sampled_from("aabbcc1 -\u200b"), max_size=14),
)
@example(patterns=["b.{1,4}", "a(?:bc)?", "a.{0,3}c"], text="bbaa--c")
def test_what_is_noted_within_a_redaction_that_reaches_over_a_cut_is_so_in_every_split(
    patterns: list[str], text: str
) -> None:
    actions = zip(("redact", "annotate", "block"), patterns, strict=False)
    policy = compiled([OracleRule(action, f"custom/{action}", (), (pattern,)) for action, pattern in actions])
    whole = run(policy, [text])
    assert run(policy, list(text)) == whole
    for place in range(len(text) + 1):
        assert run(policy, [text[:place], text[place:]]) == whole
