"""The official `openai` package for Python, unmodified, against a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI
from openai.lib.responses_websocket import (
    AsyncResponsesWebSocketSession,
    ResponsesWebSocketAccumulator,
    ResponsesWebSocketError,
    ResponsesWebSocketLimits,
)

from engine.scripted import ScriptedEngine
from tests.app.serving import Served, serving

pytestmark = pytest.mark.anyio

LIMITS = ResponsesWebSocketLimits(
    max_lanes=8,
    max_events_per_lane=4096,
    max_events=16384,
    max_bytes_per_lane=1 << 24,
    max_bytes=1 << 25,
    max_response_bytes=None,
)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(ScriptedEngine(tokens_per_s=200)) as server:
        yield server


@pytest.fixture
async def client(served: Served) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key=served.key, base_url=served.http + "/v1", max_retries=0) as client:
        yield client


async def test_a_turn_over_the_socket(client: AsyncOpenAI) -> None:
    async with client.responses.connect() as connection:
        await connection.response.create(input="Hello from the SDK", model="scripted")
        text = ""
        async for event in connection:
            if event.type == "response.output_text.delta":
                text += event.delta
            if event.type == "response.completed":
                break
        assert text == "Hello from the SDK"
        assert event.response.output_text == text
        assert event.response.usage is not None


async def test_tiers(client: AsyncOpenAI) -> None:
    response = await client.responses.create(input="hi", model="scripted", service_tier="flex")
    assert response.service_tier == "flex"
    completion = await client.chat.completions.create(
        messages=[{"role": "user", "content": "hi"}], model="scripted", service_tier="priority"
    )
    assert completion.service_tier == "priority"
    chunks = await client.chat.completions.create(
        messages=[{"role": "user", "content": "hi"}], model="scripted", service_tier="auto", stream=True
    )
    assert [chunk.service_tier async for chunk in chunks][-1] == "default"


async def test_lanes_forks_and_errors_over_the_socket(client: AsyncOpenAI) -> None:
    async with (
        client.responses.connect() as connection,
        AsyncResponsesWebSocketSession(connection, limits=LIMITS) as session,
    ):
        left, right = session.lane("left"), session.lane("right")
        await left.send({"type": "response.create", "input": "from the left", "model": "scripted"})
        await right.send({"type": "response.create", "input": "from the right", "model": "scripted"})
        first = await left.get_final_response()
        assert (first.output_text, (await right.get_final_response()).output_text) == (
            "from the left",
            "from the right",
        )
        fork = {"type": "response.create", "input": "fork", "previous_response_id": first.id}
        await right.send({**fork, "model": "scripted"})  # type: ignore[typeddict-item]
        forked = await right.get_final_response()
        assert forked.previous_response_id == first.id
        await left.send({"type": "response.create", "input": "x", "previous_response_id": "resp_none"})
        with pytest.raises(ResponsesWebSocketError) as refused:
            await left.get_final_response()
        assert refused.value.event.error.code == "previous_response_not_found"  # type: ignore[union-attr]
        await left.send({"type": "response.create", "input": "the lane goes on"})
        assert (await left.get_final_response()).output_text == "the lane goes on"


async def test_a_cancel_over_the_socket_ends_the_lane(client: AsyncOpenAI) -> None:
    async with (
        client.responses.connect() as connection,
        AsyncResponsesWebSocketSession(connection, limits=LIMITS) as session,
    ):
        lane = session.lane("a")
        accumulator = ResponsesWebSocketAccumulator()
        await lane.send({"type": "response.create", "input": "word " * 2000})
        while (event := await lane.recv()).type != "response.output_text.delta":
            accumulator.add_event(event)
            if event.type == "response.created":
                response_id = event.response.id
        await connection.send({"type": "response.cancel", "response_id": response_id})  # type: ignore[arg-type,misc]
        accumulator.add_event(event)
        while event.type != "response.incomplete":
            event = await lane.recv()
            accumulator.add_event(event)
        assert event.response.status == "cancelled"
        assert accumulator.get_final_response().output_text == event.response.output_text


async def test_a_stream_of_server_sent_events_and_its_replay(client: AsyncOpenAI) -> None:
    stream = await client.responses.create(input="one two three", model="scripted", stream=True)
    events = [event async for event in stream]
    response_id = events[0].response.id  # type: ignore[union-attr]
    replay = await client.responses.retrieve(response_id, stream=True, starting_after=3)
    assert [event.sequence_number async for event in replay] == [e.sequence_number for e in events[4:]]
    async with client.responses.stream(response_id=response_id) as resumed:
        final = await resumed.get_final_response()
    assert final.output_text == "one two three"
    async with client.responses.stream(input="four five", model="scripted") as fresh:
        assert (await fresh.get_final_response()).output_text == "four five"


async def test_the_life_of_a_response_over_http(client: AsyncOpenAI) -> None:
    response = await client.responses.create(
        input=[{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}],
        model="scripted",
        metadata={"k": "v"},
        extra_body={"top_k": 5, "ignore_eos": False},
    )
    assert response.output_text == "Hello"
    assert (await client.responses.retrieve(response.id)).output_text == "Hello"
    counted = await client.responses.input_tokens.count(input="Hello", model="scripted")
    assert counted.input_tokens == response.usage.input_tokens  # type: ignore[union-attr]
    assert (await client.responses.cancel(response.id)).status == "completed"
    await client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(response.id)


async def test_the_older_dialects(client: AsyncOpenAI) -> None:
    chat = await client.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": "Hello"}], max_completion_tokens=9
    )
    assert chat.choices[0].message.content == "Hello"
    stream = await client.chat.completions.create(
        model="scripted",
        messages=[{"role": "user", "content": "one two"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "one two"
    assert chunks[-1].usage is not None
    completion = await client.completions.create(model="scripted", prompt="one two")
    assert completion.choices[0].text == "one two"


async def test_refusals_have_their_own_exceptions(client: AsyncOpenAI, served: Served) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        await client.responses.create(input="x", model="scripted", tools=[{"type": "web_search"}])
    assert (bad.value.code, bad.value.param) == ("unsupported_parameter", "tools[0].type")
    with pytest.raises(openai.NotFoundError) as missing:
        await client.responses.create(input="x", model="other")
    assert missing.value.code == "model_not_found"
    async with AsyncOpenAI(api_key="wrong", base_url=served.http + "/v1", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.models.list()


async def test_models_moderations_and_browser_keys(client: AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["scripted"]
    result = await client.moderations.create(input="hello")
    assert result.results[0].flagged is False
    secret = await client.realtime.client_secrets.create()
    assert secret.value.startswith("ek_")
