"""Log probabilities under the gate: they leave with their text, in whatever deltas it comes, or never."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.moderation import CompiledPolicy, Gate
from app.scores import BEFORE, ScoreBook
from engine.request import Candidate, Score, Scored
from protocol.logprobs import TokenLogprob
from tests.app.moderation.running import policy

RULES = policy(
    '[[rule]]\ncategory = "custom/a"\naction = "block"\nterms = ["forbidden phrase"]',
    '[[rule]]\ncategory = "secret"\naction = "redact"\nterms = ["foo", "open sesame"]',
)
NONE = policy()


def candidate(token: str, logprob: float = -1.0) -> Candidate:
    return Candidate(token, token.encode(), logprob)


def scored(tokens: list[str], top: tuple[str, ...] = ()) -> list[Scored]:
    """A delta for each token."""
    end, deltas = 0, []
    for n, token in enumerate(tokens):
        end += len(token)
        likely = tuple(candidate(other) for other in top)
        deltas.append(Scored(token, (Score(candidate(token, -float(n)), likely, end),)))
    return deltas


def run(deltas: list[Scored], rules: object = RULES) -> list[tuple[str, tuple[TokenLogprob, ...]]]:
    """What goes out, delta by delta, as a turn sends it."""
    gate, book = Gate(rules), ScoreBook(rules)  # type: ignore[arg-type]
    out = []
    shown = ""

    def released(text: str) -> tuple[str, tuple[TokenLogprob, ...]]:
        nonlocal shown
        shown += text
        placed = book.release(gate.decided, gate.hidden)
        for score, end in placed:
            whole = "\ufffd" in score.token or shown[:end].endswith(score.token)
            assert whole, "its place is where its text stands"
        return text, tuple(score for score, _ in placed)

    for delta in deltas:
        book.add(delta)
        step = gate.push(str(delta))
        if step.released:
            out.append(released(step.released))
        if step.cut is not None:
            return out
    if rest := gate.finish().released:
        out.append(released(rest))
    return out


def test_a_token_that_is_held_keeps_its_score_until_it_is_released() -> None:
    out = run(scored(["This", " is", " forb", "idden", " fruit"]))
    assert [(text, [one.token for one in logprobs]) for text, logprobs in out] == [
        ("This", ["This"]),
        (" is", [" is"]),
        (" ", []),
        ("forbidden fruit", [" forb", "idden", " fruit"]),
    ]


def test_after_a_cut_no_score_of_what_was_withheld_is_there() -> None:
    out = run(scored(["Say", " a", " forbidden", " phr", "ase", ".", " more"]))
    assert [one.token for _, logprobs in out for one in logprobs] == ["Say", " a"]
    assert "".join(text for text, _ in out) == "Say a "


def test_a_token_that_the_cut_goes_through_is_withheld() -> None:
    out = run(scored(["x forbid", "den phrase", "."]))
    assert [one for _, logprobs in out for one in logprobs] == []
    assert "".join(text for text, _ in out) == "x "


def test_what_was_redacted_has_no_scores_and_its_neighbours_have() -> None:
    out = run(scored(["a ", "open", " sesa", "me", "!", " fo", "o", " b"]))
    assert "".join(text for text, _ in out) == "a [redacted]! [redacted] b"
    assert [one.token for _, logprobs in out for one in logprobs] == ["a ", "!", " b"]


def test_an_alternative_that_the_policy_would_not_let_through_is_left_out() -> None:
    top = (" phrase", "foo", " sesame", "fine")
    tokens = ["a", " forbidden", " fruit", ", open", " it", "."]

    def likeliest(rules: object) -> dict[str, list[str]]:
        told = [one for _, logprobs in run(scored(tokens, top), rules) for one in logprobs]
        return {one.token: [other.token for other in one.top_logprobs] for one in told}

    likely = likeliest(RULES)
    assert likely["a"] == [" phrase", " sesame", "fine"]
    assert likely[" fruit"] == ["foo", " sesame", "fine"], "behind 'forbidden' foo is no word of its own"
    assert likely[" it"] == [" phrase", "foo", "fine"]
    assert likeliest(NONE) == {token: list(top) for token in tokens}


def test_a_special_token_may_stand_among_the_likeliest() -> None:
    end = Candidate("<|im_end|>", b"", -0.5)
    (_, (logprob,)), *_ = run([Scored("foods", (Score(candidate("foods"), (end,), 5),)), Scored(" x", ())])
    assert logprob.top_logprobs[0].token == "<|im_end|>"
    assert logprob.top_logprobs[0].bytes == ()


def spelled(token: str, likely: tuple[bytes, ...], end: int) -> tuple[Score, ...]:
    """The scores of a character that comes as one token a byte."""
    top = tuple(Candidate("\ufffd", data, -2.0) for data in likely)
    return tuple(Score(Candidate("\ufffd", bytes([byte]), -1.0), top, end) for byte in token.encode())


def test_no_byte_of_a_redacted_character_is_told() -> None:
    rules = policy('[[rule]]\ncategory = "secret"\naction = "redact"\nterms = ["code 𓀀𓂀"]\nsubstring = true')
    start = scored(["my ", "code "])
    out = run([*start, Scored("𓀀", spelled("𓀀", (), 9)), Scored("𓂀", spelled("𓂀", (), 10))], rules)
    assert "".join(text for text, _ in out) == "my [redacted]"
    assert [one.token for _, logprobs in out for one in logprobs] == ["my "]


def test_no_byte_of_the_character_at_which_the_text_is_cut_is_told() -> None:
    rules = policy('[[rule]]\ncategory = "custom/a"\naction = "block"\nterms = ["𓂀"]\nsubstring = true')
    whole = Scored("my 𓂀 x", (*scored(["my "])[0].scores, *spelled("𓂀", (), 4)))
    assert [one.token for _, logprobs in run([whole], rules) for one in logprobs] == ["my "]


def test_a_byte_that_would_make_a_redacted_character_is_left_out() -> None:
    rules = policy('[[rule]]\ncategory = "secret"\naction = "redact"\nterms = ["𓂀"]\nsubstring = true')
    shown = Scored("𓂁", spelled("𓂁", (b"\x80", b"\x82"), 1))
    told = [one for _, logprobs in run([shown, *scored([])], rules) for one in logprobs]
    assert [bytes(one.bytes) for one in told] == [b"\xf0", b"\x93", b"\x82", b"\x81"]
    assert bytes(told[3].top_logprobs[0].bytes) == b"\x82"
    assert len(told[3].top_logprobs) == 1
    assert [bytes(top.bytes) for top in told[2].top_logprobs] == [b"\x80", b"\x82"]


def test_directly_behind_a_redaction_no_alternative_is_told() -> None:
    rules = policy(
        '[[rule]]\ncategory = "secret"\naction = "redact"\npatterns = ["secret-[a-z0-9]{4,20}"]\nmax_width = 40'
    )
    out = run(scored(["my ", "secret-", "abcd", " is", " out"], ("efgh", "1234", " is")), rules)
    likely = {one.token: [top.token for top in one.top_logprobs] for _, told in out for one in told}
    assert "".join(text for text, _ in out) == "my [redacted] is out"
    assert likely == {
        "my ": ["efgh", "1234", " is"],
        " is": [" is"],
        " out": ["efgh", "1234", " is"],
    }


@pytest.mark.parametrize("action", ["block", "redact"])
def test_an_alternative_that_completes_a_long_term_is_left_out(action: str) -> None:
    begun = ["many", *(f" words{n}" for n in range(20)), " "]
    term = "".join(begun) + "zebra"
    rules = policy(f'[[rule]]\ncategory = "custom/a"\naction = "{action}"\nterms = ["{term}"]')
    out = run(scored(["so ", *begun, "horse", "."], ("zebra", "mule")), rules)
    likely = {one.token: [top.token for top in one.top_logprobs] for _, told in out for one in told}
    assert len(term) > 2 * BEFORE
    assert likely["horse"] == ["mule"]
    assert likely["many"] == likely["."] == ["zebra", "mule"]


def test_behind_more_undecided_text_than_an_alternative_can_be_judged_with_none_is_told() -> None:
    rules = policy(
        'at_hold_cap = "release"',
        '[[rule]]\ncategory = "custom/a"\naction = "block"\npatterns = ["<[a-z]{1,250}>"]',
    )
    out = run(scored(["<", "a" * 245, "b", " ", "c"], (">", "d" * 20, "ok")), rules)
    likely = {one.token: [top.token for top in one.top_logprobs] for _, told in out for one in told}
    assert likely["b"] == ["ok"]
    assert likely["c"] == [">", "d" * 20, "ok"]


words = st.sampled_from(
    ["a", " ", "b ", "foo", "fo", "o", "forbidden", " phrase", " phr", "ase", "open", " sesame", "é", "."]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(words, max_size=25), st.lists(st.integers(0, 60), max_size=8))
def test_what_goes_out_does_not_depend_on_the_deltas_and_matches_the_text(
    tokens: list[str], cuts: list[int]
) -> None:
    singles = scored(tokens)
    out = run(singles)
    text = "".join(tokens)
    # The same scores in other deltas: the whole of them known with the first delta that reaches their end.
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    scores = [score for delta in singles for score in delta.scores]
    other = [
        Scored(text[start:end], tuple(score for score in scores if start < score.end <= end))
        for start, end in pairwise(places)
    ]
    told = [one for _, logprobs in out for one in logprobs]
    assert [one for _, logprobs in run(other) for one in logprobs] == told
    shown = "".join(released for released, _ in out)
    rest = shown.split("[redacted]")
    for one in told:  # in order, and nothing but what was shown as it was
        place = -math.inf
        while rest:
            place = rest[0].find(one.token)
            if place >= 0:
                rest[0] = rest[0][place + len(one.token) :]
                break
            rest.pop(0)
        assert place >= 0, (one.token, shown)
    assert sum(len(one.token) for one in told) <= len(shown)
    if "[redacted]" not in shown and shown == text:
        assert "".join(one.token for one in told) == text


PATTERNS = policy(
    '[[rule]]\ncategory = "custom/a"\naction = "block"\nterms = ["phrase"]',
    '[[rule]]\ncategory = "custom/b"\naction = "block"\npatterns = ["b a{0,3}foo"]',
    '[[rule]]\ncategory = "secret"\naction = "redact"\npatterns = ["fo{1,3}[a-z]{0,12}", "(open ){1,9}é"]',
    '[[rule]]\ncategory = "secret"\naction = "redact"\nterms = ["é.", "aa"]\nsubstring = true',
)


@settings(max_examples=300, deadline=None)
@given(st.lists(words, max_size=15), st.sampled_from([RULES, PATTERNS]))
def test_an_alternative_that_is_told_would_have_been_shown(tokens: list[str], rules: CompiledPolicy) -> None:
    alternatives = ("a", "o", "foo", " phrase", "phr", "open ", " sesame", "é", ".", " ", "x")
    for _, told in run(scored(tokens, alternatives), rules):
        for one in told:
            begin = len("".join(tokens[: -int(one.logprob)]))
            for top in one.top_logprobs:
                if top.token == one.token:
                    continue
                gate = Gate(rules)
                gate.push("".join(tokens)[:begin] + top.token)
                gate.finish()
                assert gate.cut is None, (one, top)
                assert all(end <= begin for _, end, _ in gate.hidden), (one, top)


@pytest.mark.parametrize("rules", [RULES, NONE])
def test_a_long_reply_leaves_little_behind(rules: object) -> None:
    book = ScoreBook(rules)  # type: ignore[arg-type]
    gate = Gate(rules)  # type: ignore[arg-type]
    for delta in scored(["word "] * 2000):
        book.add(delta)
        gate.push(str(delta))
        book.release(gate.decided, gate.hidden)
    assert len(book._raw) <= 3 * BEFORE
    assert repr(book) in ("<ScoreBook waiting=0>", "<ScoreBook waiting=1>")
