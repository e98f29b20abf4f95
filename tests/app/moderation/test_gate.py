"""Situations of one response: what is shown when, where it is cut, and what is told about it."""

from __future__ import annotations

import pytest

from app.moderation import Annotation, Cut, Gate, GateStep
from tests.app.moderation.running import policy, run

BLOCK = policy('[[rule]]\ncategory = "custom/a"\naction = "block"\nterms = ["forbidden phrase"]')
REDACT = policy('[[rule]]\ncategory = "secret"\naction = "redact"\nterms = ["foo"]\nsubstring = true')
BOTH = policy(
    '[[rule]]\ncategory = "secret"\naction = "redact"\nterms = ["open sesame", "plan b"]',
    '[[rule]]\ncategory = "custom/a"\naction = "block"\nterms = ["sesame street", "b movie"]',
)


def test_benign_text_is_shown_at_once() -> None:
    gate = Gate(BLOCK)
    for token in ("The", " quick", " brown", " dog", ".", "\n"):
        assert gate.push(token) == GateStep(token)
        assert gate.held == 0
    assert gate.finish() == GateStep("")


def test_only_the_undecided_end_waits() -> None:
    gate = Gate(BLOCK)
    assert gate.push("This is forb").released == "This is "
    assert gate.held == 4
    assert gate.push("idden").released == ""
    assert gate.held == 9
    assert gate.push(" fruit").released == "forbidden fruit"
    assert gate.held == 0


def test_cut_ends_right_before_the_match_and_names_its_reason() -> None:
    gate = Gate(BLOCK)
    assert gate.push("A forbidden phra").cut is None
    assert gate.push("se").cut is None  # a longer word may still come of it
    assert gate.push(".") == GateStep("", Cut("custom/a", "t", "block", "match"))
    assert gate.cut == Cut("custom/a", "t", "block", "match")
    assert gate.held == 0


def test_text_after_the_cut_is_dropped() -> None:
    gate = Gate(BLOCK)
    assert gate.push("say forbidden phrase! and more").cut is not None
    assert gate.push("late") == GateStep("")
    assert gate.finish() == GateStep("")
    assert gate.push("later") == GateStep("")
    assert gate.summary().released == len("say ")
    assert gate.summary().withheld == len("forbidden phrase! and morelatelater")


def test_a_word_that_the_end_of_the_text_completes_is_cut() -> None:
    gate = Gate(BLOCK)
    assert gate.push("a forbidden phrase") == GateStep("a ")
    assert gate.finish().cut == Cut("custom/a", "t", "block")


def test_a_longer_word_is_no_match() -> None:
    assert run(BLOCK, "a forbidden phrasebook, unforbidden phrase").cut is None


def test_text_after_the_end_is_dropped() -> None:
    gate = Gate(REDACT)
    gate.push("a")
    gate.finish()
    assert gate.push("b") == GateStep("")
    assert gate.finish() == GateStep("")
    assert gate.summary().withheld == 1


def test_nothing_is_said_about_an_empty_delta() -> None:
    gate = Gate(BLOCK)
    assert gate.push("") == GateStep("")
    gate.push("x")
    assert gate.push("") == GateStep("")


@pytest.mark.parametrize(
    "disguise",
    [
        "ＦＯＲＢＩＤＤＥＮ ｐｈｒａｓｅ",
        "f\u200bo\u200cr\u2060b\u00adi\ufeffdden phrase",
        "f\u0301o\u0302r\u0303b\u0336idden phra\u20ddse",
        "fοrbіddеn рhrаsе",
        "𝐟𝐨𝐫𝐛𝐢𝐝𝐝𝐞𝐧 𝓹𝓱𝓻𝓪𝓼𝓮",
        "FORBIDDEN\n\tPHRASE",
        "forbidden\u00a0\u3000phrase",
        "forb\u3164idden phr\x08ase",
        "ⓕⓞⓡⓑⓘⓓⓓⓔⓝ phrase",
        "ꜰᴏʀʙɪᴅᴅᴇɴ ᴘʜʀᴀꜱᴇ",
        "🅵🅾\ufe0f🆁🅱🅸🅳🅳🅴🅽 🅟🅗🅡🅐🅢🅔",
        "ᎦᎧᏒᏰᎥᎴᎴᏋᏁ ᏢᎻᎡᎪᏚᎬ",
        "ᖴOᖇᗷIᗪᗪEᑎ ᑭᕼᖇᗩᔕᕮ",
    ],
)
@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_disguises_do_not_evade(disguise: str, size: int) -> None:
    text = f"so {disguise}, yes"
    ran = run(BLOCK, [text[index : index + size] for index in range(0, len(text), size)])
    assert ran.released == "so "
    assert ran.cut is not None


def test_what_shows_nothing_around_a_match_goes_with_it() -> None:
    for deltas in (list("a \u200b\u0301foo\u200b\u0301 b"), ["a \u200b\u0301foo\u200b\u0301 b"]):
        assert run(REDACT, deltas).released == "a [redacted] b"


def test_a_combining_mark_waits_only_where_a_match_may_follow() -> None:
    gate = Gate(BLOCK)
    assert gate.push("e").released == "e"
    assert gate.push("\u0301").released == "\u0301"  # inside a word no whole word begins
    assert gate.push(" ").released == " "
    assert gate.push("\u200b").released == ""
    assert gate.held == 1
    assert gate.push("x").released == "\u200bx"


def test_overlapping_redactions_are_one() -> None:
    overlapping = policy(
        '[[rule]]\ncategory = "pii"\naction = "redact"\nterms = ["abcd", "cdef"]\nsubstring = true'
    )
    assert run(overlapping, list("xabcdefx")).released == "x[redacted]x"
    assert run(overlapping, list("xabcdcdefx")).released == "x[redacted][redacted]x"


def test_a_redaction_that_may_grow_takes_the_longer_match() -> None:
    longer = policy(
        '[[rule]]\ncategory = "pii"\naction = "redact"\nterms = ["foo", "foobar"]\nsubstring = true'
    )
    gate = Gate(longer)
    assert gate.push("a foob").released == "a [redacted]"  # certain, whatever becomes of the `b`
    assert gate.held == 1
    assert gate.push("ar!").released == "!"
    assert run(longer, ["a foob", "az!"]).released == "a [redacted]baz!"
    assert gate.summary().redactions == 1


def test_a_redaction_waits_while_a_cut_may_begin_earlier_or_with_it() -> None:
    same = policy(
        '[[rule]]\ncategory = "pii"\naction = "redact"\nterms = ["foo"]\nsubstring = true',
        '[[rule]]\ncategory = "hate"\naction = "block"\nterms = ["foobar"]\nsubstring = true',
    )
    gate = Gate(same)
    assert gate.push("a foob").released == "a "
    assert gate.push("ar").cut == Cut("hate", "t", "block")
    assert run(same, ["a foob", "!"]).released == "a [redacted]b!"


def test_a_cut_inside_a_redaction_keeps_the_redaction() -> None:
    ran = run(BOTH, list("say open sesame street now"))
    assert ran.released == "say [redacted]"
    assert ran.cut is not None


def test_a_cut_waits_for_an_undecided_earlier_match() -> None:
    earlier = policy(
        '[[rule]]\ncategory = "hate"\naction = "block"\nterms = ["c"]\nsubstring = true',
        '[[rule]]\ncategory = "custom/a"\naction = "block"\nterms = ["abcd"]\nsubstring = true',
    )
    gate = Gate(earlier)
    assert gate.push("xabc") == GateStep("x")
    assert gate.push("d") == GateStep("", Cut("custom/a", "t", "block"))
    assert run(earlier, ["xabc", "e"]).released == "xab"
    assert run(earlier, ["xabc", "e"]).cut == Cut("hate", "t", "block")


def test_of_two_cuts_at_one_place_the_first_rule_is_named() -> None:
    twice = policy(
        '[[rule]]\ncategory = "hate"\naction = "block"\nterms = ["bad"]',
        '[[rule]]\ncategory = "violence"\naction = "block"\nterms = ["bad"]',
    )
    assert run(twice, "so bad!").cut == Cut("hate", "t", "block")


def test_rules_of_the_other_direction_play_no_part() -> None:
    on_input = policy(
        '[[rule]]\ncategory = "hate"\naction = "block"\napplies_to = ["input"]\nterms = ["bad"]'
    )
    assert Gate(on_input).push("so bad!").released == "so bad!"
    assert Gate(on_input, "input").push("so bad!").cut is not None


def test_annotations_are_placed_in_the_released_text() -> None:
    noted = policy(
        '[[rule]]\ncategory = "violence"\naction = "annotate"\nterms = ["fight", "fight club"]',
        '[[rule]]\ncategory = "pii"\naction = "redact"\nterms = ["bob"]',
    )
    text = "Bob: a fight club, bob? a fight"
    for deltas in ([text], list(text), ["Bob: a fi", "ght cl", "ub, bob? a", " fight"]):
        ran = run(noted, deltas)
        assert ran.released == "[redacted]: a fight club, [redacted]? a fight"
        assert ran.notes == [(14, 24, "violence"), (40, 45, "violence")]


def test_annotated_text_does_not_wait() -> None:
    noted = policy('[[rule]]\ncategory = "violence"\naction = "annotate"\nterms = ["fight"]')
    gate = Gate(noted)
    assert gate.push("a figh") == GateStep("a figh")
    assert gate.push("t") == GateStep("t")
    assert gate.push("!") == GateStep("!", None, (Annotation(2, 7, "violence"),))


def test_an_annotation_of_redacted_text_covers_what_stands_there() -> None:
    noted = policy(
        '[[rule]]\ncategory = "pii"\naction = "redact"\nterms = ["bob"]',
        '[[rule]]\ncategory = "violence"\naction = "annotate"\nterms = ["hit bob", "bob", "bob back"]',
    )
    ran = run(noted, list("hit bob back!"))
    assert ran.released == "hit [redacted] back!"
    assert ran.notes == [(0, 19, "violence")]


def test_an_annotation_that_reaches_beyond_the_cut_is_dropped() -> None:
    noted = policy(
        '[[rule]]\ncategory = "hate"\naction = "block"\nterms = ["bad"]',
        '[[rule]]\ncategory = "violence"\naction = "annotate"\nterms = ["a bad", "a"]',
    )
    ran = run(noted, list("a bad!"))
    assert ran.released == "a "
    assert ran.notes == []


def test_a_flag_changes_nothing_visible() -> None:
    flagged = policy('[[rule]]\ncategory = "self-harm"\naction = "flag"\nterms = ["knife"]')
    ran = run(flagged, list("a knife here"))
    assert (ran.released, ran.cut, ran.notes) == ("a knife here", None, [])
    assert ran.summary.seen == (("self-harm", "flag"),)


def test_patterns_match_on_folded_text_and_any_case() -> None:
    ids = policy("[[rule]]\ncategory = 'pii'\naction = 'redact'\npatterns = ['\\b[A-C]ID-\\d{3}\\b']")
    for text in ("aid-123", "BID-１２３", "ＣＩＤ‐123", "cid\u200b-٣٤٥"):
        assert run(ids, list(f"my {text}.")).released == "my [redacted]."
    assert run(ids, list("my did-123, aid-1234")).released == "my did-123, aid-1234"


def test_a_match_at_the_end_is_undecided_while_more_may_follow() -> None:
    ssn = policy("[[rule]]\ncategory = 'pii'\naction = 'redact'\npatterns = ['\\b\\d{3}-\\d{2}-\\d{4}\\b']")
    gate = Gate(ssn)
    assert gate.push("no 123-45-6789").released == "no "
    assert gate.push("0").released == "123-45-67890"
    assert run(ssn, ["no 123-45-6789"]).released == "no [redacted]"


def test_the_summary_counts_what_was_shown_and_withheld() -> None:
    ran = run(REDACT, list("a foo foofoo b"))
    assert ran.released == "a [redacted] [redacted][redacted] b"
    assert ran.summary.redactions == 3
    assert ran.summary.released == len(ran.released)
    assert ran.summary.withheld == 9
    assert ran.summary.policy_version == "t"


def test_the_summary_is_true_while_text_is_held() -> None:
    gate = Gate(BLOCK)
    gate.push("hello")
    gate.push(" f")
    assert (gate.summary().released, gate.summary().withheld) == (6, 1)
    assert gate.push("un").released == "fun"
    assert (gate.summary().released, gate.summary().withheld) == (9, 0)


def test_without_rules_everything_passes() -> None:
    ran = run(policy(), list("any \u200bthing世"))
    assert ran.released == "any \u200bthing世"
    assert ran.summary.released == len(ran.released)


def test_a_redaction_waits_for_an_earlier_one_that_may_join_it() -> None:
    joined = policy(
        '[[rule]]\ncategory = "pii"\naction = "redact"\nterms = ["a", "aaa"]\nsubstring = true',
    )
    steps = [gate.push(char).released for gate in [Gate(joined)] for char in "aab"]
    assert steps == ["[redacted]", "", "[redacted]b"]
    assert run(joined, list("aaa")).released == "[redacted]"


def test_a_note_about_what_continues_a_redaction_stands_at_the_redaction() -> None:
    noted = policy(
        '[[rule]]\ncategory = "pii"\naction = "redact"\nterms = ["b", "ba"]\nsubstring = true',
        '[[rule]]\ncategory = "custom/a"\naction = "block"\nterms = ["a"]',
        '[[rule]]\ncategory = "hate"\naction = "annotate"\nterms = ["a"]\nsubstring = true',
    )
    assert run(noted, list("ba")).notes == [(0, 10, "hate")]
    assert run(noted, ["ba"]).notes == [(0, 10, "hate")]
