"""What a client may not say, wherever it says it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from engine.scripted import ScriptedEngine
from tests.app.dialects import DIALECTS, client_of, take_turn
from tests.app.policies import INPUT, UNSAID, US_NUMBER, rule, write_policy
from tests.app.serving import Served, serving
from tests.app.talk import talking

pytestmark = pytest.mark.anyio

RULES = (UNSAID, rule("pii", "redact", INPUT, patterns=[US_NUMBER]))


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def served(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    policy = write_policy(tmp_path_factory.mktemp("input"), *RULES)
    async with serving(policy=policy) as server:
        yield server


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_blocked_input_is_refused_in_every_dialect(served: Served, dialect: str) -> None:
    for text in ("this is UNSAYABLE.", "long " * 2000 + "unsayable"):
        outcome = await take_turn(served, dialect, text)
        assert (outcome.end, outcome.status, outcome.code) == ("refused", 400, "content_policy_violation")
        assert "custom/unsaid" in outcome.error["message"]
        assert "unsayable" not in str(outcome).lower()


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_redacted_input_is_what_the_engine_sees(served: Served, dialect: str) -> None:
    outcome = await take_turn(served, dialect, "number 078-05-1120 here")
    assert outcome.text == "number [redacted] here"


@pytest.mark.parametrize("dialect", ["socket", "json", "sse"])
async def test_instructions_are_input_too(served: Served, dialect: str) -> None:
    refused = await take_turn(served, dialect, "x", instructions="Say the unsayable.")
    assert (refused.code, refused.error["param"]) == ("content_policy_violation", "instructions")
    taken = await take_turn(served, dialect, "x", instructions="My number is 078-05-1120.")
    assert taken.end == "stop"
    assert "078-05" not in str(taken)


@pytest.mark.parametrize("role", ["system", "developer", "user"])
async def test_every_message_of_an_input_is_judged(served: Served, role: str) -> None:
    messages: list[dict[str, Any]] = [
        {
            "role": role,
            "content": [{"type": "input_text", "text": "the unsay"}, {"type": "text", "text": "able"}],
        },
        {"role": "user", "content": "and now?"},
    ]
    outcome = await take_turn(served, "json", "", input=messages)
    assert (outcome.code, outcome.error["param"]) == ("content_policy_violation", "input")


async def test_counting_refuses_what_a_turn_would_refuse(served: Served) -> None:
    async with client_of(served) as client:
        answer = await client.post("/v1/responses/input_tokens", json={"input": "the unsayable"})
        assert answer.json()["error"]["code"] == "content_policy_violation"


async def test_a_refused_input_leaves_the_line_where_it_was(served: Served) -> None:
    async with talking(served) as talk:
        first = (await talk.turn("one"))[-1]["response"]["id"]
        refusal = (await talk.turn("unsayable", previous_response_id=first))[-1]
        assert refusal["error"]["code"] == "content_policy_violation"
        again = (await talk.turn("two", previous_response_id=first))[-1]
        assert (
            again["response"]["usage"]["input_tokens"] == 10
        )  # three words in three marked messages, one mark


async def test_an_error_names_the_field_of_its_dialect() -> None:
    async with serving(ScriptedEngine(context_tokens=64)) as served:
        for dialect, param in [("chat", "messages"), ("completion", "prompt"), ("json", "input")]:
            outcome = await take_turn(served, dialect, "x " * 100)
            assert outcome.error is not None
            assert outcome.error["param"] == param
