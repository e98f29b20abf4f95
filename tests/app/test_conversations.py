"""What a model is to see of a conversation: lineage, deletions, instructions, and what a small context leaves out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from engine.request import EngineRequest
from engine.scripted import ScriptedEngine
from tests.app.dialects import client_of, take_turn
from tests.app.serving import Served, serving
from tests.app.talk import talking

pytestmark = pytest.mark.anyio

Messages = list[tuple[str, str]]


class Witness:
    """Remembers what the engine was asked, by the place where a test's faults are decided."""

    def __init__(self) -> None:
        self.seen: list[Messages] = []

    def __call__(self, request: EngineRequest) -> None:
        assert not isinstance(request.source, str)
        self.seen.append([(message.role, message.content) for message in request.source])

    @property
    def last(self) -> Messages:
        return self.seen[-1]


@pytest.fixture
def witness() -> Witness:
    return Witness()


@pytest.fixture
async def served(witness: Witness) -> AsyncIterator[Served]:
    async with serving(ScriptedEngine(faults=witness)) as server:
        yield server


async def test_a_follow_up_sees_everything_that_was_said(served: Served, witness: Witness) -> None:
    async with talking(served) as talk:
        first = (
            await talk.turn([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "one"}])
        )[-1]
        second = (await talk.turn("two", previous_response_id=first["response"]["id"]))[-1]
        await talk.turn("three", previous_response_id=second["response"]["id"])
    assert witness.last == [
        ("system", "Be kind."),
        ("user", "one"),
        ("assistant", "one"),
        ("user", "two"),
        ("assistant", "two"),
        ("user", "three"),
    ]


async def test_forks_do_not_see_each_other(served: Served, witness: Witness) -> None:
    async with talking(served) as talk:
        root = (await talk.turn("root"))[-1]["response"]["id"]
        await talk.turn("left", previous_response_id=root, stream_id="l")
        await talk.turn("right", previous_response_id=root, stream_id="r")
    assert witness.last == [("user", "root"), ("assistant", "root"), ("user", "right")]


async def test_instructions_are_not_inherited(served: Served, witness: Witness) -> None:
    async with talking(served) as talk:
        first = (await talk.turn("one", instructions="Rhyme."))[-1]["response"]
        assert witness.last == [("system", "Rhyme."), ("user", "one")]
        assert first["instructions"] == "Rhyme."
        second = (await talk.turn("two", previous_response_id=first["id"]))[-1]["response"]
        assert witness.last == [("user", "one"), ("assistant", "one"), ("user", "two")]
        assert second["instructions"] is None
        await talk.turn("three", previous_response_id=second["id"], instructions="Be brief.")
        assert witness.last[0] == ("system", "Be brief.")
        assert "Rhyme." not in str(witness.last)


@pytest.mark.parametrize("deleted", [0, 1, 2])
async def test_a_deleted_ancestor_ends_the_line_and_is_named(served: Served, deleted: int) -> None:
    async with talking(served) as talk, client_of(served) as client:
        line: list[str] = []
        for text in ("one", "two", "three"):
            fields = {"previous_response_id": line[-1]} if line else {}
            line.append((await talk.turn(text, **fields))[-1]["response"]["id"])
        assert (await client.delete(f"/v1/responses/{line[deleted]}")).status_code == 200
        refusal = (await talk.turn("four", previous_response_id=line[-1]))[-1]
        assert (refusal["status"], refusal["error"]["code"]) == (400, "previous_response_not_found")
        assert refusal["error"]["param"] == "previous_response_id"
        assert line[deleted] in refusal["error"]["message"]
        counted = await client.post(
            "/v1/responses/input_tokens", json={"input": "x", "previous_response_id": line[-1]}
        )
        assert counted.json()["error"]["code"] == "previous_response_not_found"
        if deleted > 0:  # what stands before it can still be continued
            again = (await talk.turn("again", previous_response_id=line[deleted - 1]))[-1]
            assert again["type"] == "response.completed"


@pytest.fixture
async def small(witness: Witness) -> AsyncIterator[Served]:
    """A context of 64 tokens; a message takes its words and two, a reply's beginning one."""
    async with serving(ScriptedEngine(context_tokens=64, faults=witness)) as server:
        yield server


async def test_a_prompt_past_the_context_is_refused_with_both_numbers(small: Served) -> None:
    for dialect in ("json", "socket", "sse"):
        refusal = await take_turn(small, dialect, "w " * 96 + "w")
        assert (refusal.end, refusal.status, refusal.code) == ("refused", 400, "context_length_exceeded")
        assert "100" in refusal.error["message"]
        assert "63" in refusal.error["message"]
        assert refusal.error["param"] == "input"
    full = await take_turn(small, "json", "w " * 59 + "w")
    assert (full.end, full.usage) == ("length", {"input": 63, "output": 1})


async def test_a_conversation_that_outgrows_the_context_is_refused_unless_truncation_is_asked_for(
    small: Served, witness: Witness
) -> None:
    async with talking(small) as talk:
        parent = None
        for number in range(6):
            turn = await talk.turn(f"{number} a b c", previous_response_id=parent, max_output_tokens=4)
            if turn[-1]["type"] == "error":
                break
            parent = turn[-1]["response"]["id"]
        assert turn[-1]["error"]["code"] == "context_length_exceeded"
        assert '"truncation": "auto"' in turn[-1]["error"]["message"]
        seen = len(witness.seen)
        again = await talk.turn(
            "last words", previous_response_id=parent, truncation="auto", max_output_tokens=8
        )
        assert again[-1]["type"] == "response.completed"
        assert again[-1]["response"]["truncation"] == "auto"
        assert again[-1]["response"]["usage"]["input_tokens"] <= 56
        assert len(witness.seen) == seen + 1
        roles = [role for role, _ in witness.last]
        assert roles[0] == "user"
        assert witness.last[-1] == ("user", "last words")
        assert ("user", "0 a b c") not in witness.last
        assert ("user", "4 a b c") in witness.last


async def test_truncation_keeps_instructions_and_the_last_message_or_refuses(
    small: Served, witness: Witness
) -> None:
    async with talking(small) as talk:
        messages = [{"role": "user", "content": "w " * 20} for _ in range(5)]
        await talk.turn(messages, instructions="Be brief.", truncation="auto")
        assert witness.last[0] == ("system", "Be brief.")
        assert 1 < len(witness.last) < 6
        refusal = (await talk.turn("w " * 100, instructions="Be brief.", truncation="auto"))[-1]
        assert refusal["error"]["code"] == "context_length_exceeded"
        assert refusal["error"]["param"] == "input"


async def test_counting_knows_of_truncation(small: Served) -> None:
    async with client_of(small) as client:
        body: dict[str, Any] = {"input": [{"role": "user", "content": "w " * 20} for _ in range(5)]}
        whole = (await client.post("/v1/responses/input_tokens", json=body)).json()["input_tokens"]
        assert whole > 64
        cut = await client.post("/v1/responses/input_tokens", json=body | {"truncation": "auto"})
        assert cut.json()["input_tokens"] <= 64


async def test_the_longest_prompt_can_be_set_below_the_context() -> None:
    async with serving(ScriptedEngine(context_tokens=64), max_prompt_tokens=10) as served:
        assert (await take_turn(served, "json", "a b c d e f g")).end == "stop"
        refusal = await take_turn(served, "json", "a b c d e f g h")
        assert "11" in refusal.error["message"]
        assert "10" in refusal.error["message"]
