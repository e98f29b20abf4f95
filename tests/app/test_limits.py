"""Every limit of a request and of a socket, through a real server: under it, at it, over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from engine.scripted import ScriptedEngine
from tests.app.dialects import DIALECTS, client_of, limit_field, take_turn
from tests.app.serving import Served, serving
from tests.app.talk import TERMINAL, talking

pytestmark = pytest.mark.anyio

SMALL: dict[str, Any] = {
    "max_body_bytes": 4096,
    "max_nesting": 9,
    "max_input_items": 5,
    "max_content_parts": 4,
    "max_stop_strings": 3,
    "max_metadata_pairs": 2,
    "max_prompt_tokens": 60,
    "max_lanes": 4,
    "max_active_responses": 3,
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def served(anyio_backend: str) -> AsyncIterator[Served]:
    async with serving(**SMALL) as server:
        yield server


def items(count: int) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": "a"}] * count}


def parts(count: int) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}] * count}]}


def nesting(levels: int) -> dict[str, Any]:
    """A body of so many levels: an output part's annotations are taken as they come."""
    inner: list[Any] = []
    for _ in range(levels - 6):
        inner = [inner]
    part = {"type": "output_text", "text": "a", "annotations": inner}
    return {"input": [{"role": "assistant", "content": [part]}, {"role": "user", "content": "b"}]}


def words(tokens: int) -> dict[str, Any]:
    """An input of so many tokens: its words, two marks around them, and one where the reply begins."""
    return {"input": " ".join(["a"] * (tokens - 3))}


LIMITS: dict[str, tuple[int, Callable[[int], dict[str, Any]], str, str | None]] = {
    "items": (5, items, "invalid_value", "input"),
    "parts": (4, parts, "invalid_value", "input[0].content"),
    "nesting": (9, nesting, "invalid_json", None),
    "stop strings": (3, lambda n: {"stop": ["zz"] * n}, "invalid_value", "stop"),
    "stop characters": (256, lambda n: {"stop": "z" * n}, "invalid_value", "stop"),
    "metadata pairs": (
        2,
        lambda n: {"metadata": {f"k{i}": "v" for i in range(n)}},
        "invalid_value",
        "metadata",
    ),
    "metadata key": (64, lambda n: {"metadata": {"k" * n: "v"}}, "invalid_value", "metadata"),
    "metadata value": (512, lambda n: {"metadata": {"k": "v" * n}}, "invalid_value", "metadata.k"),
    "prompt tokens": (60, words, "context_length_exceeded", "input"),
}


@pytest.mark.parametrize("dialect", ["json", "socket"])
@pytest.mark.parametrize("limit", LIMITS)
async def test_under_and_at_a_limit_is_served_and_over_it_refused(
    served: Served, limit: str, dialect: str
) -> None:
    most, make, code, param = LIMITS[limit]
    for count in (most - 1, most):
        assert (await take_turn(served, dialect, "hello", **make(count))).end == "stop", count
    refusal = await take_turn(served, dialect, "hello", **make(most + 1))
    assert (refusal.end, refusal.status, refusal.code) == ("refused", 400, code)
    assert refusal.error["param"] == param
    assert str(most) in refusal.error["message"]


async def test_a_prompt_that_is_too_long_is_told_with_both_numbers(served: Served) -> None:
    refusal = await take_turn(served, "json", "", **words(75))
    assert "75" in refusal.error["message"]
    assert "60" in refusal.error["message"]
    assert (await take_turn(served, "completion", "a " * 29 + "a")).end == "stop"
    refusal = await take_turn(served, "completion", "a " * 60 + "a")
    assert (refusal.code, refusal.error["param"]) == ("context_length_exceeded", "prompt")


async def test_bytes_count_not_characters(served: Served) -> None:
    """On the socket the message is text, its limit bytes."""
    head, tail = '{"type":"response.create","input":"', '","store":false}'
    room = 4096 - len(head) - len(tail)
    async with talking(served) as talk:
        for pad in (room - 1, room):
            text = "é" * (pad // 2) + "e" * (pad % 2)
            await talk.socket.send(head + text + tail)
            assert (await talk.until(*TERMINAL))[-1]["type"] == "response.completed"
        await talk.socket.send(head + "é" * (room // 2) + "e" * (room % 2 + 1) + tail)
        with pytest.raises(ConnectionClosed) as closed:
            await talk.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_a_body_of_exactly_the_limit_is_served_over_http(served: Served) -> None:
    head, tail = b'{"input":"a"', b"}"
    async with client_of(served) as client:
        for size, status in [(4095, 200), (4096, 200), (4097, 413)]:
            body = head + b" " * (size - len(head) - len(tail)) + tail
            answer = await client.post("/v1/responses", content=body)
            assert answer.status_code == status
        assert answer.json()["error"]["code"] == "request_too_large"


async def test_lanes_over_the_limit_are_refused_and_the_named_ones_go_on(served: Served) -> None:
    async with talking(served) as talk:
        for name in ("a", "b", "c", "d", "a"):
            assert (await talk.turn("x", stream_id=name))[-1]["type"] == "response.completed"
        refusal = (await talk.turn("x", stream_id="e"))[-1]
        assert (refusal["status"], refusal["error"]["code"]) == (429, "websocket_stream_limit_reached")
        assert (refusal["stream_id"], refusal["error"]["param"]) == ("e", "stream_id")
        assert (await talk.turn("x"))[-1]["type"] == "response.completed"  # the default lane has no name
        assert (await talk.turn("x", stream_id="d"))[-1]["type"] == "response.completed"


async def test_thirty_two_lanes_by_default() -> None:
    async with serving() as served, talking(served) as talk:
        for number in range(32):
            assert (await talk.turn("x", stream_id=f"lane-{number}"))[-1]["type"] == "response.completed"
        refusal = (await talk.turn("x", stream_id="lane-32"))[-1]
        assert refusal["error"]["code"] == "websocket_stream_limit_reached"


async def test_a_turn_that_waits_for_its_lane_counts_as_unfinished() -> None:
    async with serving(ScriptedEngine(tokens_per_s=20), **SMALL) as served, talking(served) as talk:
        for number in range(4):
            await talk.create(f"turn {number}", stream_id="one")
        refusal, ended = None, 0
        while ended < 3:
            event = await talk.next()
            ended += event["type"] in TERMINAL
            if event["type"] == "error":
                assert refusal is None
                refusal = event
        assert refusal is not None
        assert refusal["error"]["code"] == "websocket_stream_limit_reached"
        assert (await talk.turn("again", stream_id="one"))[-1]["type"] == "response.completed"


async def test_a_context_is_rebuilt_from_so_many_turns_and_no_more() -> None:
    async with serving(max_turns=3) as served, talking(served) as talk:
        counts, parent = [], None
        for _ in range(6):
            turn = await talk.turn("one two three", previous_response_id=parent, truncation="auto")
            response = turn[-1]["response"]
            counts.append(response["usage"]["input_tokens"])
            parent = response["id"]
    assert counts[0] < counts[1] < counts[2] < counts[3] == counts[4] == counts[5]


async def test_a_million_brackets_are_refused_at_once() -> None:
    body = b'{"input":[' + b"[]," * 1_000_000 + b"[]]}"
    async with serving() as served, client_of(served) as client:
        for path in ("/v1/responses", "/v1/chat/completions", "/v1/completions", "/v1/moderations"):
            answer = await client.post(path, content=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")
            assert "65536" in answer.json()["error"]["message"]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_reply_without_a_limit_of_its_own_has_the_servers(dialect: str) -> None:
    async with serving(default_max_output_tokens=3) as served:
        ended = await take_turn(served, dialect, "one two three four five")
        assert (ended.text, ended.end) == ("one two three", "length")
        asked = await take_turn(served, dialect, "one two three four five", **{limit_field(dialect): 4})
        assert (asked.text, asked.end) == ("one two three four", "length")


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_no_reply_is_longer_than_the_server_allows(dialect: str) -> None:
    text, field = "one two three four five", limit_field(dialect)
    async with serving(max_output_tokens=3, default_max_output_tokens=4) as served:
        ended = await take_turn(served, dialect, text)
        assert (ended.text, ended.end) == ("one two three", "length")
        assert (await take_turn(served, dialect, text, **{field: 3})).end == "length"
        refused = await take_turn(served, dialect, text, **{field: 4})
        assert (refused.code, refused.error["param"]) == ("invalid_value", field)
        assert "an integer from 1 to 3" in refused.error["message"]


async def test_a_default_below_the_most_is_the_default() -> None:
    async with serving(max_output_tokens=3, default_max_output_tokens=2) as served:
        assert (await take_turn(served, "json", "one two three four")).text == "one two"


async def test_the_limit_that_counts_is_shown() -> None:
    async with serving(default_max_output_tokens=3) as served, client_of(served) as client:
        shown = (await client.post("/v1/responses", json={"input": "one two three four"})).json()
        assert (shown["max_output_tokens"], shown["status"]) == (3, "incomplete")
