"""Log probabilities beside functions: each text has those of its tokens, and calls have none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.calls import CallingTurn
from app.ids import new_id
from app.moderation import CompiledPolicy, Gate
from app.scores import ScoreBook
from engine.calls.hermes import HERMES
from engine.calls.parser import CallParser
from engine.request import EngineRequest, Finished, FinishReason, Sampling, Started, Usage
from protocol.response import Response
from tests.app.moderation.running import policy
from tests.app.test_scores import scored
from tests.app.test_turn import HandEngine, Reader

NONE = policy()
SECRET = policy('[[rule]]\ncategory = "secret"\naction = "redact"\nterms = ["open sesame", "foo"]')
CALL = HERMES.written("f", '{"a": "b"}')


def told(policy: CompiledPolicy, tokens: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The output items and all events of a reply of these tokens."""
    reader = Reader()
    turn = CallingTurn(
        parser=CallParser(HERMES, {"f": {}}),
        parallel=True,
        new_id=new_id,
        response=Response(
            id="resp_1",
            created_at=1,
            status="in_progress",
            model="by-hand",
            truncation="disabled",
            temperature=1.0,
            top_p=1.0,
            store=True,
        ),
        item_id=new_id("msg"),
        tenant="mine",
        gate=Gate(policy),
        engine=HandEngine(None),
        max_events=1000,
        scores=ScoreBook(policy),
    )
    turn.attach(reader)
    turn.submit(EngineRequest("resp_1", [1], (), Sampling()))
    for output in (Started(0), *scored(tokens), Finished(FinishReason.STOP, Usage(1, 0, len(tokens)))):
        turn.deliver(output)
    turn.conclude(turn.finished_response(2))
    return reader.events[-1]["response"]["output"], reader.events


def scores_of(items: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Each text, and the tokens that it has scores of."""
    parts = [part for item in items if item["type"] == "message" for part in item["content"]]
    return [(part["text"], [one["token"] for one in part["logprobs"]]) for part in parts]


def test_the_text_before_a_call_has_the_scores_of_its_tokens() -> None:
    tokens = ["Let", " me", " look", ".", "\n", *CALL, "\n", "There", "!"]
    items, events = told(NONE, tokens)
    assert [item["type"] for item in items] == ["message", "function_call"]
    assert scores_of(items) == [("Let me look.", ["Let", " me", " look", "."])]
    for kind in ("output_text.delta", "output_text.done"):
        streamed = [event for event in events if event["type"] == f"response.{kind}"]
        assert [one["token"] for event in streamed for one in event["logprobs"]] == [
            "Let",
            " me",
            " look",
            ".",
        ]


def test_a_token_that_is_half_of_a_call_is_not_told() -> None:
    items, _ = told(NONE, ["So:", " now<tool", CALL.removeprefix("<tool"), "\nand", " on"])
    assert scores_of(items) == [("So: now", ["So:"])]


def test_what_only_began_like_a_call_is_text_with_its_scores() -> None:
    items, _ = told(NONE, ["a", " <", "tool", "_call", ">", " b"])
    assert scores_of(items) == [("a <tool_call> b", ["a", " <", "tool", "_call", ">", " b"])]


@pytest.mark.parametrize("word", ["open sesame", "foo"])
def test_scores_stay_with_their_text_where_the_gate_hid_some(word: str) -> None:
    items, _ = told(SECRET, ["a ", word, ".", " b ", "\n", *CALL, "\n", "c ", word, "!", " d"])
    assert scores_of(items) == [
        ("a [redacted]. b", ["a ", "."]),  # the space of " b " is white space around the call
    ]


@given(
    st.lists(
        st.sampled_from(["a", " ", "é", "\n", "<", "foo", " foo", "open", " sesame", CALL, "x y"]),
        max_size=14,
    )
)
def test_scores_are_of_tokens_of_their_text_in_order(tokens: list[str]) -> None:
    items, _ = told(SECRET, tokens)
    for text, scores in scores_of(items):
        at = 0
        for token in scores:
            at = text.index(token.lstrip(), at) + len(token.lstrip())
