"""`store: false`: what a connection keeps for itself, how much of it, and that nothing of it is elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.connection import MAX_LOCAL
from engine.request import EngineRequest
from engine.scripted import ScriptedEngine
from tests.app.dialects import client_of
from tests.app.serving import Served, serving
from tests.app.talk import Talk, talking

pytestmark = pytest.mark.anyio


@pytest.fixture
async def contexts() -> list[list[str]]:
    return []


@pytest.fixture
async def served(contexts: list[list[str]]) -> AsyncIterator[Served]:
    """A server that writes down what its engine is asked."""

    def note(request: EngineRequest) -> None:
        assert not isinstance(request.source, str)
        contexts.append([message.content for message in request.source])

    async with serving(ScriptedEngine(faults=note)) as server:
        yield server


async def say(talk: Talk, text: str, parent: str | None = None, *, store: bool = False) -> str:
    last = (await talk.turn(text, previous_response_id=parent, store=store))[-1]
    assert last["type"] == "response.completed", last
    return str(last["response"]["id"])


async def test_unstored_turns_continue_stored_ones_and_each_other(
    served: Served, contexts: list[list[str]]
) -> None:
    async with talking(served) as talk:
        root = await say(talk, "a", store=True)
        one = await say(talk, "b", root)
        two = await say(talk, "c", one)
        await say(talk, "d", two)
        assert contexts[-1] == ["a", "a", "b", "b", "c", "c", "d"]
        await say(talk, "e", one)
        assert contexts[-1] == ["a", "a", "b", "b", "e"]


async def test_an_unstored_turn_ends_where_its_stored_parent_was_deleted(served: Served) -> None:
    async with talking(served) as talk, client_of(served) as client:
        root = await say(talk, "a", store=True)
        one = await say(talk, "b", root)
        assert (await client.delete(f"/v1/responses/{root}")).status_code == 200
        refusal = (await talk.turn("c", previous_response_id=one))[-1]
        assert refusal["error"]["code"] == "previous_response_not_found"
        assert root in refusal["error"]["message"]


async def test_the_oldest_unstored_turns_make_room(served: Served) -> None:
    async with talking(served) as talk:
        made = [await say(talk, str(number)) for number in range(MAX_LOCAL + 1)]
        refusal = (await talk.turn("x", previous_response_id=made[0]))[-1]
        assert refusal["error"]["code"] == "previous_response_not_found"
        await say(talk, "x", made[2])
        await say(talk, "x", made[-1])


async def test_nothing_of_an_unstored_turn_is_in_the_store(served: Served) -> None:
    async with talking(served) as talk:
        await say(talk, "an unmistakable word: xylotheque")
    redis = served.service.store.redis
    async for key in redis.scan_iter("*"):
        assert b"xylotheque" not in key + (await redis.dump(key) or b"")
    assert [key async for key in redis.scan_iter("*resp_*")] == []


async def test_over_http_an_unstored_response_is_nobodys_parent(served: Served) -> None:
    async with client_of(served) as client:
        made = (await client.post("/v1/responses", json={"input": "a", "store": False})).json()
        assert made["store"] is False
        refused = await client.post("/v1/responses", json={"input": "b", "previous_response_id": made["id"]})
        assert refused.json()["error"]["code"] == "previous_response_not_found"
