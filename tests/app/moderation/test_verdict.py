"""Moderation of whole texts: a turn's input, and `POST /v1/moderations`."""

from __future__ import annotations

from app.moderation import Cut, check_input, moderation_result
from app.moderation.policy import OPENAI_CATEGORIES
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


def test_moderation_answers_in_openai_shape() -> None:
    clean, flagged = moderation_result(POLICY, ["hello", "a fight with Bob"])
    assert clean["flagged"] is False
    assert not any(clean["categories"].values())
    assert list(clean["categories"]) == [*OPENAI_CATEGORIES, "custom/a", "pii"]
    assert flagged["flagged"] is True
    assert [name for name, hit in flagged["categories"].items() if hit] == ["violence", "pii"]
    assert flagged["category_scores"]["violence"] == 1.0
    assert flagged["category_scores"]["hate"] == 0.0
    assert flagged["category_applied_input_types"]["sexual/minors"] == ["text"]
    assert set(flagged) == {"flagged", "categories", "category_scores", "category_applied_input_types"}


def test_moderation_without_rules_flags_nothing() -> None:
    (result,) = moderation_result(policy(), ["anything"])
    assert result["flagged"] is False
    assert tuple(result["categories"]) == OPENAI_CATEGORIES
