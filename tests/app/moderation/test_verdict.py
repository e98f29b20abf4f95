"""Moderation of whole texts: a turn's input, and `POST /v1/moderations`."""

from __future__ import annotations

import pytest

from app.moderation import Abandoned, Cut, category_scores, check_input
from protocol.moderation import CATEGORIES
from tests.app.moderation.running import policy, run

POLICY = policy(
    '[[rule]]\ncategory = "custom/a"\naction = "block"\napplies_to = ["input"]\nterms = ["forbidden phrase"]',
    '[[rule]]\ncategory = "pii"\naction = "redact"\nterms = ["bob", "bobby"]\nsubstring = true',
    '[[rule]]\ncategory = "violence"\naction = "flag"\napplies_to = ["output"]\nterms = ["fight"]',
    '[[rule]]\ncategory = "hate"\naction = "annotate"\nterms = ["nasty"]',
)


def test_benign_input_is_left_alone() -> None:
    verdict = check_input(POLICY, "Hello – how are you?\n")
    assert (verdict.text, verdict.blocked, verdict.seen) == ("Hello – how are you?\n", None, ())
    assert verdict.policy_version == "t"
    assert check_input(POLICY, "").text == ""


def test_blocked_input_has_a_category_and_no_text() -> None:
    verdict = check_input(POLICY, "Bob, a nasty ｆorbidden\nphrase")
    assert verdict.blocked == Cut("custom/a", "t", "block")
    assert verdict.text == ""
    assert verdict.seen == (("custom/a", "block"), ("hate", "annotate"), ("pii", "redact"))


def test_redacted_input_is_what_the_gate_would_show() -> None:
    for text in ("Bobby and bobob\u200b met a fight", "\u200bbob\u0301bob", "bob"):
        assert check_input(POLICY, text).text == run(POLICY, text).released
    assert check_input(POLICY, "Bobby and bobob").text == "[redacted] and [redacted]"


def test_the_hold_cap_is_for_streams_only() -> None:
    text = "f" + "\u0301" * 500 + "orbidden phrase"
    assert check_input(POLICY, text).blocked == Cut("custom/a", "t", "block", "match")
    assert check_input(POLICY, "f" + "\u0301" * 500).blocked is None


def test_a_texts_scores_have_every_category_and_say_which_were_found() -> None:
    clean, flagged = (category_scores(POLICY, text) for text in ("hello", "a fight with Bob"))
    assert list(clean) == list(flagged) == [*CATEGORIES, "custom/a", "pii"]
    assert not any(clean.values())
    assert [name for name, score in flagged.items() if score] == ["violence", "pii"]
    assert set(flagged.values()) == {0.0, 1.0}


def test_scores_without_rules_are_zero() -> None:
    assert category_scores(policy(), "anything") == dict.fromkeys(CATEGORIES, 0.0)


@pytest.mark.parametrize("unit", ["plain words ", "bob ", "é"])
def test_a_long_check_can_be_abandoned(unit: str) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(len(asked))
        return len(asked) == 3

    for check in (check_input, category_scores):
        asked.clear()
        with pytest.raises(Abandoned):
            check(POLICY, unit * 10_000, stop)
        assert len(asked) == 3


def test_a_check_that_may_go_on_is_the_same_as_without_asking() -> None:
    text = ("plain words, " * 700 + "Bobby and a nasty forbidden" + " " * 5 + "phrasing ") * 3
    assert check_input(POLICY, text, lambda: False) == check_input(POLICY, text)


@pytest.mark.parametrize("place", range(4_080, 4_100))
def test_what_lies_across_two_pieces_is_found(place: int) -> None:
    text = "." * place + " forbidden phrase. Bob"
    assert check_input(POLICY, text).blocked == Cut("custom/a", "t", "block")
