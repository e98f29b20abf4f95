"""A response by its id: read, replayed, cancelled, deleted; while it lives, after it ended, by others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from engine.playback import Fault
from engine.request import EngineRequest
from engine.scripted import ScriptedEngine
from tests.app.dialects import client_of, sse_events
from tests.app.serving import Served, serving
from tests.app.talk import TERMINAL, Event, Talk, talking, text_of
from tests.protocol.validation import validate

pytestmark = pytest.mark.anyio

REPLAY = {"stream": "true"}


def stalls(request: EngineRequest) -> Fault | None:
    return Fault(3) if str(request.source).count("stall") else None


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def served(anyio_backend: str) -> AsyncIterator[Served]:
    async with serving(ScriptedEngine(faults=stalls)) as server:
        yield server


@pytest.fixture
async def client(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(served) as client:
        yield client


async def stalled(talk: Talk) -> tuple[list[Event], str]:
    """A response that says three words and no more: its first events, and its path."""
    await talk.create("words that stall in the middle")
    begun = await talk.until("response.output_text.delta")
    return begun, f"/v1/responses/{begun[0]['response']['id']}"


def not_found(answer: httpx.Response) -> bool:
    validate(answer.content, "ErrorAnswer")
    return (answer.status_code, answer.json()["error"]["code"]) == (404, "response_not_found")


async def test_a_live_response_is_read_followed_cancelled_and_read_again(
    served: Served, client: httpx.AsyncClient
) -> None:
    async with talking(served) as talk:
        begun, path = await stalled(talk)
        live = await client.get(path)
        validate(live.content, "Response")
        assert (live.json()["status"], live.json()["output"]) == ("in_progress", [])
        following = [
            asyncio.create_task(client.get(path, params={"stream": "true"} | after))
            for after in ({}, {"starting_after": "0"}, {"starting_after": "2"})
        ]
        cancelled = await client.post(path + "/cancel")
        validate(cancelled.content, "Response")
        assert cancelled.json()["status"] == "cancelled"
        events = begun + await talk.until(*TERMINAL)
        assert text_of(events) == "words that stall"
        for task, first in zip(following, (0, 1, 3), strict=True):
            assert sse_events((await task).text) == events[first:]
        assert (await client.get(path)).json() == events[-1]["response"]
        assert sse_events((await client.get(path, params={"stream": "TRUE"})).text) == events


async def test_two_cancels_at_once_answer_alike(served: Served, client: httpx.AsyncClient) -> None:
    async with talking(served) as talk:
        _, path = await stalled(talk)
        one, two = await asyncio.gather(client.post(path + "/cancel"), client.post(path + "/cancel"))
        assert one.json() == two.json()
        assert one.json()["status"] == "cancelled"


async def test_a_live_response_can_be_deleted_and_is_gone_for_good(
    served: Served, client: httpx.AsyncClient
) -> None:
    async with talking(served) as talk:
        begun, path = await stalled(talk)
        deleted = await client.delete(path)
        validate(deleted.content, "ResponseDeleted")
        assert (await talk.until(*TERMINAL))[-1]["response"]["status"] == "cancelled"
        for gone in (
            await client.get(path),
            await client.get(path, params=REPLAY),
            await client.post(path + "/cancel"),
            await client.delete(path),
        ):
            assert not_found(gone)
        refusal = (await talk.turn("x", previous_response_id=begun[0]["response"]["id"]))[-1]
        assert refusal["error"]["code"] == "previous_response_not_found"


async def test_an_unstored_response_can_be_replayed_and_forgotten_but_not_read(
    served: Served, client: httpx.AsyncClient
) -> None:
    async with talking(served) as talk:
        events = await talk.turn("not kept", store=False)
        path = f"/v1/responses/{events[0]['response']['id']}"
        assert sse_events((await client.get(path, params=REPLAY)).text) == events
        assert not_found(await client.get(path))
        assert (await client.delete(path)).json()["deleted"] is True
        assert not_found(await client.get(path, params=REPLAY))
        assert not_found(await client.delete(path))


async def test_completions_of_the_older_dialects_leave_nothing_to_read(
    served: Served, client: httpx.AsyncClient
) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}]}
    made = (await client.post("/v1/chat/completions", json=body)).json()
    assert not_found(await client.get(f"/v1/responses/{made['id']}"))
    assert not_found(await client.get(f"/v1/responses/{made['id']}", params=REPLAY))


async def test_another_tenant_finds_nothing_by_any_way(served: Served, client: httpx.AsyncClient) -> None:
    other = await served.service.auth.create_key("other", tenant="elsewhere")
    stranger = replace(served, key=other.value)
    async with talking(served) as talk, client_of(stranger) as thief, talking(stranger) as listener:
        stored = (await talk.turn("mine"))[-1]["response"]["id"]
        await talk.create("words that stall in the middle", stream_id="live")
        live = (await talk.until("response.output_text.delta", lane="live"))[0]["response"]["id"]
        for response_id in (stored, live, "resp_of_nobody"):
            path = f"/v1/responses/{response_id}"
            answers = [
                await thief.get(path),
                await thief.get(path, params=REPLAY),
                await thief.get(path + "/input_items"),
                await thief.post(path + "/cancel"),
                await thief.delete(path),
            ]
            assert all(not_found(answer) for answer in answers)
            unknown = {answer.json()["error"]["message"].replace(response_id, "ID") for answer in answers}
            assert len(unknown) == 2  # one for replays, one for all else, whether the id exists or not
            refusal = (await listener.turn("x", previous_response_id=response_id))[-1]
            assert refusal["error"]["code"] == "previous_response_not_found"
            await listener.send(type="response.cancel", response_id=response_id)
            assert (await listener.next())["error"]["code"] == "response_not_found"
        assert (await client.get(f"/v1/responses/{stored}")).status_code == 200
        assert (await client.get(f"/v1/responses/{live}")).json()["status"] == "in_progress"


async def test_a_reader_reads_and_does_nothing_else(served: Served, client: httpx.AsyncClient) -> None:
    made = (await client.post("/v1/responses", json={"input": "hello"})).json()
    path = f"/v1/responses/{made['id']}"
    key = await served.service.auth.create_key("reader", role="read-only")
    async with client_of(replace(served, key=key.value)) as reader:
        assert (await reader.get(path)).json() == made
        assert (await reader.get(path, params=REPLAY)).status_code == 200
        for refused in (
            await reader.delete(path),
            await reader.post(path + "/cancel"),
            await reader.post("/v1/responses", json={"input": "x"}),
            await reader.post("/v1/responses/input_tokens", json={"input": "x"}),
            await reader.post("/v1/chat/completions", json={}),
            await reader.post("/v1/realtime/client_secrets", json={}),
        ):
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "insufficient_scope")


async def test_the_grace_of_replays_ends_and_the_stored_response_stays() -> None:
    for settings in ({"replay_s": 0}, {"replay_bytes": 1024}, {"replay_events": 16}):
        async with serving(**settings) as served, client_of(served) as client:  # type: ignore[arg-type]
            made = (await client.post("/v1/responses", json={"input": "word " * 30})).json()
            path = f"/v1/responses/{made['id']}"
            assert not_found(await client.get(path, params=REPLAY)), settings
            assert (await client.get(path)).json() == made
            assert (await client.delete(path)).status_code == 200


async def test_a_live_response_of_too_many_events_is_not_replayed_but_goes_on() -> None:
    def stalls_late(request: EngineRequest) -> Fault | None:
        return Fault(20)

    engine = ScriptedEngine(faults=stalls_late)
    async with serving(engine, replay_events=16) as served, client_of(served) as client:
        async with talking(served) as talk:
            await talk.create("word " * 30)
            while text_of(talk.events).count("word") < 20:
                await talk.next()
            path = f"/v1/responses/{talk.events[0]['response']['id']}"
            assert not_found(await client.get(path, params=REPLAY))
            assert (await client.post(path + "/cancel")).json()["status"] == "cancelled"
            await talk.until(*TERMINAL)
            assert [event["sequence_number"] for event in talk.events] == list(range(len(talk.events)))


async def test_who_follows_a_live_response_may_leave_without_ending_it(served: Served) -> None:
    async with talking(served) as talk, client_of(served) as client:
        begun, path = await stalled(talk)
        async with client.stream("GET", path, params=REPLAY) as following:
            async for line in following.aiter_lines():
                if "output_text.delta" in line:
                    break
        turn = served.service.hub.live(begun[0]["response"]["id"], "default")
        assert turn is not None
        async with asyncio.timeout(10):
            while len(turn.readers) > 1:
                await asyncio.sleep(0.01)
        assert (await client.get(path)).json()["status"] == "in_progress"
        await client.post(path + "/cancel")


async def test_a_cursor_ahead_of_a_live_response_sees_only_what_follows_it(served: Served) -> None:
    async with talking(served) as talk, client_of(served) as client:
        begun, path = await stalled(talk)
        params = {"stream": "true", "starting_after": "8"}
        async with client.stream("GET", path, params=params) as following:
            await client.post(path + "/cancel")
            events = sse_events((await following.aread()).decode())
        everything = begun + await talk.until(*TERMINAL)
        assert events == [event for event in everything if event["sequence_number"] > 8] != []
