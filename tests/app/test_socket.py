"""Responses over WebSocket, against a real server on loopback with the scripted engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from engine.scripted import ScriptedEngine
from tests.app.serving import Served, serving
from tests.app.talk import TERMINAL, Event, Talk, talking, text_of

pytestmark = pytest.mark.anyio

ORDER = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as server:
        yield server


@pytest.fixture
async def slow() -> AsyncIterator[Served]:
    """Ten tokens a second: a long message is still being echoed while the test acts."""
    async with serving(ScriptedEngine(tokens_per_s=10)) as server:
        yield server


LONG = "word " * 600


def kinds(events: list[Event]) -> list[str]:
    """Types in order, runs of deltas as one."""
    found: list[str] = []
    for event in events:
        if not found or found[-1] != event["type"]:
            found.append(event["type"])
    return found


async def test_a_turn_has_every_event_in_order_and_no_gap(served: Served) -> None:
    async with talking(served) as talk:
        events = await talk.turn("Hello, streaming world!")
    assert kinds(events) == ORDER
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert text_of(events) == "Hello, streaming world!"
    response = events[-1]["response"]
    assert response["status"] == "completed"
    assert response["output"][0]["content"][0]["text"] == "Hello, streaming world!"
    assert response["usage"]["output_tokens"] == 3
    assert response["usage"]["total_tokens"] == response["usage"]["input_tokens"] + 3
    assert "stream_id" not in events[0]


async def test_a_follow_up_stands_on_the_response_it_names(served: Served) -> None:
    async with talking(served) as talk:
        first = (await talk.turn("one two three"))[-1]["response"]
        second = (await talk.turn("four five", previous_response_id=first["id"]))[-1]["response"]
    assert second["previous_response_id"] == first["id"]
    assert second["usage"]["input_tokens"] > first["usage"]["total_tokens"]


async def test_another_connection_continues_a_stored_response(served: Served) -> None:
    async with talking(served) as talk:
        first = (await talk.turn("one two three"))[-1]["response"]
    async with talking(served) as talk:
        second = (await talk.turn("four", previous_response_id=first["id"]))[-1]
    assert second["type"] == "response.completed"


async def test_an_unstored_response_is_a_parent_on_its_own_connection_only(served: Served) -> None:
    async with talking(served) as talk:
        first = (await talk.turn("one", store=False))[-1]["response"]
        second = (await talk.turn("two", store=False, previous_response_id=first["id"]))[-1]["response"]
        third = (await talk.turn("three", previous_response_id=second["id"]))[-1]["response"]
        assert (
            third["usage"]["input_tokens"] > second["usage"]["input_tokens"] > first["usage"]["input_tokens"]
        )
    async with talking(served) as talk:
        for parent in (first, second, third):
            refusal = (await talk.turn("x", previous_response_id=parent["id"]))[-1]
            assert refusal["error"]["code"] == "previous_response_not_found"
            assert refusal["error"]["param"] == "previous_response_id"


async def test_an_unknown_parent_is_refused_and_the_connection_stays(served: Served) -> None:
    async with talking(served) as talk:
        refusal = (await talk.turn("x", previous_response_id="resp_none", stream_id="a"))[-1]
        assert refusal["type"] == "error"
        assert refusal["status"] == 400
        assert refusal["stream_id"] == "a"
        assert refusal["error"]["code"] == "previous_response_not_found"
        assert (await talk.turn("still here", stream_id="a"))[-1]["type"] == "response.completed"


async def test_lanes_run_side_by_side_and_each_in_order(slow: Served) -> None:
    async with talking(slow) as talk:
        await talk.create("a1 " * 6, stream_id="a")
        await talk.create("a2", stream_id="a")
        await talk.create("b1", stream_id="b")
        while sum(event["type"] in TERMINAL for event in talk.events) < 3:
            await talk.next()
    ends = [event["stream_id"] for event in talk.events if event["type"] in TERMINAL]
    assert ends == ["b", "a", "a"]
    of_a = [event for event in talk.events if event["stream_id"] == "a"]
    begun = [index for index, event in enumerate(of_a) if event["type"] == "response.created"]
    assert of_a[begun[1] - 1]["type"] == "response.completed"  # the second began after the first had ended


async def test_two_lanes_fork_from_one_response(served: Served) -> None:
    async with talking(served) as talk:
        root = (await talk.turn("root"))[-1]["response"]
        left = (await talk.turn("left", stream_id="l", previous_response_id=root["id"]))[-1]["response"]
        right = (await talk.turn("right", stream_id="r", previous_response_id=root["id"]))[-1]["response"]
        assert left["usage"]["input_tokens"] == right["usage"]["input_tokens"]
        assert left["previous_response_id"] == right["previous_response_id"] == root["id"]


async def test_a_warm_up_prefills_and_its_follow_up_meets_the_pages(served: Served) -> None:
    async with talking(served) as talk:
        warm = await talk.turn("a context " * 200, generate=False)
        assert kinds(warm) == ["response.created", "response.in_progress", "response.completed"]
        assert warm[-1]["response"]["output"] == []
        assert warm[-1]["response"]["usage"]["output_tokens"] == 0
        follow = (await talk.turn("go", previous_response_id=warm[-1]["response"]["id"]))[-1]["response"]
        assert follow["usage"]["input_tokens_details"]["cached_tokens"] > 0


async def test_a_cancel_by_id_ends_as_incomplete_with_status_cancelled(slow: Served) -> None:
    async with talking(slow) as talk:
        await talk.create(LONG)
        begun = await talk.until("response.output_text.delta")
        await talk.send(type="response.cancel", response_id=begun[0]["response"]["id"])
        events = begun + await talk.until(*TERMINAL)
        last = events[-1]
        assert last["type"] == "response.incomplete"
        assert last["response"]["status"] == "cancelled"
        assert last["response"]["error"] is None
        assert last["response"]["output"][0]["content"][0]["text"] == text_of(events)
        assert 0 < last["response"]["usage"]["output_tokens"] < 600
        child = (await talk.turn("next", previous_response_id=last["response"]["id"], max_output_tokens=1))[
            -1
        ]
        assert child["type"] == "response.completed"
    assert slow.service.hub.engine.stats().pages_used == 0


async def test_a_cancel_from_another_connection_counts_and_an_unknown_id_is_told(slow: Served) -> None:
    async with talking(slow) as talk, talking(slow) as other:
        await talk.create(LONG)
        begun = await talk.until("response.output_text.delta")
        await other.send(type="response.cancel", response_id=begun[0]["response"]["id"])
        assert (await talk.until(*TERMINAL))[-1]["response"]["status"] == "cancelled"
        await other.send(type="response.cancel", response_id="resp_unknown")
        assert (await other.next())["error"]["code"] == "response_not_found"


async def test_a_limit_ends_as_incomplete_with_its_reason(served: Served) -> None:
    async with talking(served) as talk:
        last = (await talk.turn("one two three four", max_output_tokens=2))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["response"]["usage"]["output_tokens"] == 2


async def test_the_seventeenth_response_is_refused_and_sixteen_go_on(slow: Served) -> None:
    async with talking(slow) as talk:
        for number in range(17):
            await talk.create("a b", stream_id=f"lane-{number}")
        errors, ended = [], 0
        while ended < 16:
            event = await talk.next()
            errors += [event] if event["type"] == "error" else []
            ended += event["type"] == "response.completed"
    assert [error["error"]["code"] for error in errors] == ["websocket_stream_limit_reached"]
    assert errors[0]["status"] == 429
    assert errors[0]["stream_id"] == "lane-16"


async def test_closing_the_socket_cancels_what_runs_and_frees_its_pages(slow: Served) -> None:
    async with talking(slow) as talk:
        await talk.create(LONG, stream_id="a")
        await talk.create(LONG, stream_id="b")
        await talk.until("response.output_text.delta", lane="a")
        while not any(event["stream_id"] == "b" for event in talk.events):
            await talk.next()
    async with asyncio.timeout(5):
        await slow.service.hub.wait_idle()
    assert slow.service.hub.engine.stats().pages_used == 0
    assert slow.service.hub.engine.stats().finished["cancelled"] == 2


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", "invalid_json"),
        ("", "invalid_json"),
        ("[1]", "invalid_json"),
        ("\ufeff{}", "invalid_json"),
        ('{"type":"response.create","input":NaN}', "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ("{}", "missing_required_parameter"),
        ('{"type":"response.nonsense"}', "invalid_value"),
        ('{"type":7}', "invalid_value"),
        ('{"type":"response.create"}', "missing_required_parameter"),
        ('{"type":"response.create","input":7}', "invalid_value"),
        ('{"type":"response.create","input":"x","temperature":true}', "invalid_value"),
        ('{"type":"response.create","input":"x","tools":[{"type":"web_search"}]}', "unsupported_parameter"),
        ('{"type":"response.create","input":"x","model":"none"}', "model_not_found"),
        ('{"type":"response.steer","previous_response_id":"r","input":"x"}', "unsupported_parameter"),
    ],
)
async def test_a_bad_event_is_named_and_the_connection_stays(served: Served, frame: str, code: str) -> None:
    async with talking(served) as talk:
        await talk.socket.send(frame)
        refusal = await talk.next()
        assert refusal["type"] == "error"
        assert refusal["error"]["code"] == code
        assert refusal["error"]["message"]
        assert (await talk.turn("still here"))[-1]["type"] == "response.completed"


async def closed_by(talk: Talk) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            await talk.next()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


async def test_binary_on_a_json_connection_closes_with_1003(served: Served) -> None:
    async with talking(served) as talk:
        await talk.socket.send(b"\x81\xa1")
        assert await closed_by(talk) == 1003


async def test_invalid_utf8_closes_with_1007(served: Served) -> None:
    async with talking(served) as talk:
        await talk.socket.send(b"\xff\xfe", text=True)
        assert await closed_by(talk) == 1007


async def test_a_message_over_the_limit_closes_with_1009_and_at_the_limit_does_not(served: Served) -> None:
    head = '{"type":"response.create","input":"x"'
    most = served.service.config.max_body_bytes
    async with talking(served) as talk:
        await talk.socket.send(head + " " * (most - len(head) - 1) + "}")
        assert (await talk.until(*TERMINAL))[-1]["type"] == "response.completed"
        await talk.socket.send(head + " " * (most - len(head)) + "}")
        assert await closed_by(talk) == 1009


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "invalid_api_key"),
        ({"authorization": "Bearer wrong"}, 401, "invalid_api_key"),
        ({"authorization": "Basic abc"}, 401, "invalid_api_key"),
        ({"authorization": "Bearer KEY", "origin": "https://evil.example"}, 403, "origin_not_allowed"),
    ],
)
async def test_a_refused_handshake_is_an_http_answer(
    served: Served, headers: dict[str, str], status: int, code: str
) -> None:
    sent = {name: value.replace("KEY", served.key) for name, value in headers.items()}
    with pytest.raises(InvalidStatus) as refused:
        await connect(served.ws + "/v1/responses", additional_headers=sent)
    answer = refused.value.response
    assert answer.status_code == status
    body: dict[str, Any] = json.loads(answer.body)
    assert body["error"]["code"] == code
    assert answer.headers["x-request-id"] == body["request_id"]


async def test_a_connection_that_has_lived_its_time_is_told_and_closed() -> None:
    async with serving(connection_lifetime_s=1) as served, talking(served) as talk:
        assert (await talk.next())["error"]["code"] == "websocket_connection_limit_reached"
        assert await closed_by(talk) == 1001


async def test_a_client_that_never_reads_is_dropped_and_its_neighbour_is_not() -> None:
    """Its own queue in the kernel fills, then ours; the deadline ends it and its responses."""
    settings = {"slow_client_deadline_s": 1.0, "outbox_bytes": 1 << 28}
    async with serving(ScriptedEngine(), **settings) as served:
        text = "x" * 2000 + " "
        async with talking(served) as stuck, talking(served) as neighbour:
            stuck.socket.transport.pause_reading()
            with suppress(ConnectionClosed):  # it may be dropped before it has asked for all of that
                for number in range(16):
                    await stuck.create(text * 500, stream_id=f"lane-{number}")
            async with asyncio.timeout(30):
                while served.service.metrics.slow_clients._value.get() == 0:
                    assert (await neighbour.turn("unharmed"))[-1]["type"] == "response.completed"
                await served.service.hub.wait_idle()
            assert (await neighbour.turn("unharmed"))[-1]["type"] == "response.completed"
            assert len(served.service.hub.connections) == 1
            stuck.socket.transport.abort()  # nobody reads what it was sent, so its own close would not be heard
    assert served.service.hub.engine.stats().pages_used == 0
