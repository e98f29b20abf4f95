"""Turns that are larger than usual: nothing healthy is dropped, nothing is lost in silence, nothing blocks others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.connection import MAX_LOCAL_BYTES, LocalResponses
from app.store.record import StoredResponse
from engine.scripted import ScriptedEngine
from tests.app.policies import INPUT, UNSAID, US_NUMBER, rule, write_policy
from tests.app.serving import Served, serving
from tests.app.talk import TERMINAL, talking, text_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(ScriptedEngine()) as server:
        yield server


async def test_sixteen_long_replies_that_end_together_all_arrive() -> None:
    """Each end says its text three times: more than the outbox's bound in one turn of the loop."""
    async with (
        serving(ScriptedEngine(), outbox_bytes=65536) as served,
        talking(served, max_size=None) as talk,
    ):
        text = "x" * 30_000
        for number in range(16):
            await talk.create(text, stream_id=f"lane-{number}")
        for number in range(16):
            events = await talk.until(*TERMINAL, lane=f"lane-{number}")
            assert text_of(events) == text
        assert served.service.metrics.slow_clients._value.get() == 0


async def test_instructions_larger_than_the_outbox_arrive_on_socket_and_stream() -> None:
    async with serving(ScriptedEngine(), outbox_bytes=65536) as served:
        instructions = "y" * 200_000
        async with talking(served, max_size=None) as talk:
            assert (await talk.turn("hi", instructions=instructions))[-1]["type"] == "response.completed"


async def test_a_replay_longer_than_the_outbox_arrives_whole() -> None:
    async with serving(ScriptedEngine(), outbox_bytes=65536) as served:
        async with httpx.AsyncClient(base_url=served.http, headers=served.headers, timeout=30) as client:
            done = (await client.post("/v1/responses", json={"input": "word " * 3000})).json()
            replay = await client.get(f"/v1/responses/{done['id']}", params={"stream": "true"})
        data = [json.loads(line[6:]) for line in replay.text.splitlines() if line.startswith("data: ")]
        assert [event["sequence_number"] for event in data] == list(range(len(data)))
        assert text_of(data) == "word " * 3000
        assert data[-1]["type"] == "response.completed"


async def test_instructions_pass_the_input_gate_too(tmp_path: Path) -> None:
    policy = write_policy(tmp_path, UNSAID, rule("pii", "redact", INPUT, patterns=[US_NUMBER]))
    async with serving(ScriptedEngine(), policy=policy) as served, talking(served) as talk:
        refused = (await talk.turn("hi", instructions="be unsayable"))[-1]
        assert refused["error"]["code"] == "content_policy_violation"
        assert refused["error"]["param"] == "instructions"
        done = (await talk.turn("hi", instructions="my number is 078-05-1120"))[-1]["response"]
        assert done["instructions"] == "my number is [redacted]"
        record = await served.service.hub.stores.of("default").get(done["id"])
        assert record is not None
        assert record.instructions == "my number is [redacted]"


async def chain(talk: Any, turns: int, **fields: Any) -> dict[str, Any]:
    response: dict[str, Any] = (await talk.turn("turn 0", **fields))[-1]["response"]
    for number in range(1, turns):
        parent = {"previous_response_id": response["id"]}
        response = (await talk.turn(f"turn {number}", **parent, **fields))[-1]["response"]
    return response


@pytest.mark.parametrize("store", [True, False])
async def test_a_chain_longer_than_is_read_is_refused_or_says_so(store: bool) -> None:
    async with serving(ScriptedEngine(), max_turns=3) as served, talking(served) as talk:
        last = await chain(talk, 4, store=store)
        parent = {"previous_response_id": last["id"], "store": store}
        refused = (await talk.turn("next", **parent))[-1]
        assert refused["error"]["code"] == "context_length_exceeded"
        assert refused["error"]["param"] == "previous_response_id"
        told = (await talk.turn("next", truncation="auto", **parent))[-1]["response"]
        assert told["truncated_messages"] == 1


async def test_deleting_an_unstored_response_ends_its_line(served: Served) -> None:
    async with (
        httpx.AsyncClient(base_url=served.http, headers=served.headers) as client,
        talking(served) as talk,
    ):
        done = (await talk.turn("hi", store=False))[-1]["response"]
        assert (await client.delete(f"/v1/responses/{done['id']}")).status_code == 200
        refused = (await talk.turn("more", previous_response_id=done["id"]))[-1]
        assert refused["error"]["code"] == "previous_response_not_found"
        assert (await client.delete(f"/v1/responses/{done['id']}")).status_code == 404


async def test_a_browsers_key_deletes_nothing(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.http, headers=served.headers) as client:
        done = (await client.post("/v1/responses", json={"input": "hi"})).json()
        key = (await client.post("/v1/realtime/client_secrets", json={})).json()["value"]
        answer = await client.delete(
            f"/v1/responses/{done['id']}", headers={"authorization": f"Bearer {key}"}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_scope")
        assert (await client.get(f"/v1/responses/{done['id']}")).status_code == 200


async def test_a_drain_reaches_turns_that_are_still_being_read(served: Served) -> None:
    """A long input is judged and tokenised in a thread; the drain must not wait for its reply."""
    async with talking(served, max_size=None) as talk:
        await talk.create("word " * 200_000)
        while not served.service.hub._handles:
            await asyncio.sleep(0)
        await served.service.hub.drain(0)
        async with asyncio.timeout(20):
            await served.service.hub.wait_idle()
            events = await talk.until("error", *TERMINAL)
        assert events[-1]["type"] != "response.completed"


def unstored(number: int, size: int) -> StoredResponse:
    return StoredResponse(id=f"resp_{number}", created_at=0, model="m", response=b"x" * size)


def test_unstored_responses_are_bounded_in_bytes_and_the_newest_stays() -> None:
    local = LocalResponses()
    for number in range(10):
        local[f"resp_{number}"] = unstored(number, MAX_LOCAL_BYTES // 3)
    assert list(local) == ["resp_7", "resp_8", "resp_9"]
    local["resp_big"] = unstored(99, MAX_LOCAL_BYTES + 1)
    assert list(local) == ["resp_big"]


async def test_a_socket_on_another_path_is_refused_in_our_shape(served: Served) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus) as refused:
        await connect(served.ws + "/v1/elsewhere", additional_headers=served.headers)
    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body)["error"]["code"] == "not_found"


async def test_a_refused_handshake_logs_no_error(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus):
        await connect(served.ws + "/v1/responses")
    await served.service.hub.wait_idle()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_trailing_slash_is_not_redirected(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.http, headers=served.headers) as client:
        assert (await client.post("/v1/responses/", json={"input": "x"})).status_code == 404


async def test_the_sdks_headers_pass_a_preflight() -> None:
    origin = "https://chat.example"
    async with serving(cors_origins=origin) as served, httpx.AsyncClient(base_url=served.http) as client:
        headers = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,x-stainless-lang",
        }
        answer = await client.options("/v1/responses", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == origin


async def test_long_work_is_abandoned_at_the_end(served: Served) -> None:
    """A megabyte of card numbers takes seconds to judge; nobody waits for it once the server ends."""
    workers = served.service.hub.workers
    async with httpx.AsyncClient(base_url=served.http, headers=served.headers, timeout=30) as client:
        asked = [
            asyncio.create_task(client.post("/v1/moderations", json={"input": "4111 1111 " * 100_000}))
            for _ in range(4)
        ]
        async with asyncio.timeout(10):
            while workers.room.jobs < 4:
                await asyncio.sleep(0.01)
        workers.close()
        for answer in await asyncio.gather(*asked):
            assert answer.status_code in (200, 503)
        assert workers.room.jobs == 0
