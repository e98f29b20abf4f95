"""The hold has a cap: beyond it the policy decides, and neither time nor memory grow with a flood."""

from __future__ import annotations

import pytest

from app.moderation import Cut, Gate
from app.moderation.policy import HOLD_CAP
from tests.app.moderation.running import policy, run

_RULE = '[[rule]]\ncategory = "custom/a"\naction = "{action}"\nterms = ["forbidden phrase"]'
CLOSED = policy(_RULE.format(action="block"))
OPEN = policy('at_hold_cap = "release"', _RULE.format(action="block"))


def flooded(marks: int) -> str:
    return "say f" + "\u0301" * marks + "orbidden phrase."


@pytest.mark.parametrize("deltas", [1, 1000])
def test_a_flood_at_the_cap_is_still_decided_by_the_match(deltas: int) -> None:
    text = flooded(HOLD_CAP - len("forbidden phrase"))
    ran = run(CLOSED, [text[index : index + deltas] for index in range(0, len(text), deltas)])
    assert ran.released == "say "
    assert ran.cut == Cut("custom/a", "t", "block", "match")


@pytest.mark.parametrize("deltas", [1, 1000])
def test_a_flood_over_the_cap_is_cut_by_default(deltas: int) -> None:
    text = flooded(HOLD_CAP)
    ran = run(CLOSED, [text[index : index + deltas] for index in range(0, len(text), deltas)])
    assert ran.released == "say "
    assert ran.cut == Cut("custom/a", "t", "block", "hold_cap")


def test_a_held_redaction_is_cut_at_the_cap_too() -> None:
    ran = run(policy(_RULE.format(action="redact")), list(flooded(HOLD_CAP)))
    assert ran.released == "say "
    assert ran.cut == Cut("custom/a", "t", "redact", "hold_cap")


@pytest.mark.parametrize("deltas", [1, 1000])
def test_an_open_policy_lets_the_text_pass_at_the_cap(deltas: int) -> None:
    text = flooded(HOLD_CAP) + " then a forbidden phrase"
    ran = run(OPEN, [text[index : index + deltas] for index in range(0, len(text), deltas)])
    assert ran.released == flooded(HOLD_CAP) + " then a "
    assert ran.cut == Cut("custom/a", "t", "block", "match")


def test_an_open_policy_still_cuts_what_is_certain_at_the_cap() -> None:
    both = policy(
        'at_hold_cap = "release"',
        '[[rule]]\ncategory = "hate"\naction = "redact"\nterms = ["a bad ending"]',
        '[[rule]]\ncategory = "custom/a"\naction = "block"\nterms = ["bad"]',
    )
    ran = run(both, list("so a bad " + "\u0301" * 300))
    assert ran.released == "so a "
    assert ran.cut == Cut("custom/a", "t", "block", "match")


def test_the_rule_that_waits_longest_is_named_at_the_cap() -> None:
    waiting = policy(
        '[[rule]]\ncategory = "hate"\naction = "block"\nterms = ["b c d"]',
        "[[rule]]\ncategory = 'pii'\naction = 'block'\npatterns = ['a b c[a-z]{3}']",
    )
    assert run(waiting, "a b c" + "\u0301" * 300).cut == Cut("pii", "t", "block", "hold_cap")


def test_invisible_characters_before_no_match_pass_at_the_cap() -> None:
    text = "say " + "\u200b" * 1000 + "hello"
    gate = Gate(CLOSED)
    most = 0
    for char in text:
        gate.push(char)
        most = max(most, gate.held)
    assert most == HOLD_CAP
    assert run(CLOSED, list(text)).released == text


def test_a_match_after_a_flood_of_invisible_characters_is_cut() -> None:
    ran = run(CLOSED, list("say " + "\u200b" * 1000 + "forbidden phrase!"))
    assert ran.cut is not None
    assert set(ran.released.removeprefix("say ")) <= {"\u200b"}


def test_white_space_between_words_is_one_space_up_to_sixteen() -> None:
    assert run(CLOSED, "forbidden" + " " * 16 + "phrase!").cut is not None
    assert run(CLOSED, "forbidden" + "\u200b ".join(" " * 8) + "phrase!").cut is not None
    assert run(CLOSED, "forbidden" + " " * 17 + "phrase!").cut is None


def test_a_long_redaction_holds_and_remembers_little() -> None:
    keys = policy(
        "[[rule]]\ncategory = 'secret'\naction = 'redact'\nmax_width = 5000\npatterns = ['key-[a-z0-9]+']"
    )
    gate = Gate(keys)
    released = gate.push("my key-").released
    for _ in range(4_996):
        released += gate.push("x").released
        assert gate.held == 0
    assert released == "my [redacted]"
    assert gate.push("x").released == "x"  # past the declared width
    assert gate.finish().released == ""
    assert run(keys, "my key-" + "x" * 4_997 + " ok").released == "my [redacted]x ok"


def test_a_run_whose_width_is_spent_does_not_take_a_newer_one_with_it() -> None:
    marked = policy(
        "[[rule]]\ncategory = 'pii'\naction = 'redact'\nmax_width = 40\npatterns = ['[k-z][a-z]*!']"
    )
    text = "a" * 5 + "k" * 12 + "a" * 20 + "k" * 12 + "a" * 25
    # Merged runs share the earliest beginning, so more may vanish than the width says, never less.
    assert run(marked, list(text + "!")).released == "aaaaa[redacted]"
    assert run(marked, list(text + "a" * 20 + "!")).released == text + "a" * 20 + "!"


def test_many_runs_at_once_are_followed_and_bounded() -> None:
    runs = policy("[[rule]]\ncategory = 'pii'\naction = 'redact'\npatterns = ['[a-c]{2,60}!']")
    assert run(runs, list("abc" * 100 + "!x")).released == "abc" * 80 + "[redacted]x"
