"""Log probabilities under the gate: they leave with their text, in whatever deltas it comes, or never."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.moderation import Gate
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
    for delta in deltas:
        book.add(delta)
        step = gate.push(str(delta))
        if step.released:
            out.append((step.released, book.release(gate.decided, gate.hidden)))
        if step.cut is not None:
            return out
    if released := gate.finish().released:
        out.append((released, book.release(gate.decided, gate.hidden)))
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
