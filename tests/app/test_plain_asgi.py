"""The app on an ASGI server that is not ours: without the wire extension it sends as ASGI has it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import ASGIApp

from app.main import create_app
from engine.scripted import ScriptedEngine
from tests.app.serving import Served, serving
from tests.app.talk import TERMINAL, Event, text_of
from tests.protocol.validation import validate_event

pytestmark = pytest.mark.anyio


class PlainSocket:
    """One WebSocket of a plain ASGI server; the client reads while `reading` is set."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reading = asyncio.Event()
        self.reading.set()
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": "/v1/responses",
            "raw_path": b"/v1/responses",
            "root_path": "",
            "query_string": b"",
            "headers": [(b"host", b"testserver"), (b"authorization", f"Bearer {key}".encode())],
            "subprotocols": [],
            "client": ("testclient", 1),
            "server": ("testserver", 80),
            "extensions": {"websocket.http.response": {}},
        }

    async def run(self) -> None:
        await self._to_app.put({"type": "websocket.connect"})
        await self._app(self.scope, self._to_app.get, self._send)

    async def _send(self, message: Any) -> None:
        await asyncio.sleep(0)  # a server may let others go first in every send
        await self.reading.wait()
        await self._from_app.put(dict(message))

    async def say(self, **event: Any) -> None:
        await self._to_app.put({"type": "websocket.receive", "text": json.dumps(event)})

    async def say_bytes(self, data: bytes) -> None:
        await self._to_app.put({"type": "websocket.receive", "bytes": data})

    async def hang_up(self) -> None:
        await self._to_app.put({"type": "websocket.disconnect", "code": 1001})

    async def next(self) -> dict[str, Any]:
        """The next message of the app, a text already parsed as an event."""
        async with asyncio.timeout(10):
            message = await self._from_app.get()
        if message["type"] != "websocket.send":
            return message
        event: Event = json.loads(message["text"])
        validate_event(event)
        return event

    async def until(self, *types: str) -> list[Event]:
        events = [await self.next()]
        while events[-1]["type"] not in types:
            events.append(await self.next())
        return events


@asynccontextmanager
async def connected(served: Served, *, leave: bool = True) -> AsyncIterator[PlainSocket]:
    socket = PlainSocket(create_app(served.service), served.key)
    running = asyncio.create_task(socket.run())
    assert (await socket.next())["type"] == "websocket.accept"
    yield socket
    if leave:
        await socket.hang_up()
    async with asyncio.timeout(10):
        await running


async def test_turns_are_served_in_order_and_whole() -> None:
    async with serving() as served, connected(served) as socket:
        parent = None
        for text in ("one two three", "and " * 200):
            await socket.say(type="response.create", input=text, previous_response_id=parent)
            events = await socket.until(*TERMINAL)
            assert text_of(events) == text
            assert [event["sequence_number"] for event in events] == list(range(len(events)))
            parent = events[-1]["response"]["id"]
        await socket.say(type="response.create", stream_id="a")
        assert (await socket.next())["stream_id"] == "a"


async def test_a_client_that_hangs_up_ends_its_responses() -> None:
    engine = ScriptedEngine(tokens_per_s=20)
    async with serving(engine) as served:
        async with connected(served) as socket:
            await socket.say(type="response.create", input="word " * 300)
            await socket.until("response.output_text.delta")
        async with asyncio.timeout(10):
            await served.service.hub.wait_idle()
        assert engine.stats().finished["cancelled"] == 1
        assert served.service.hub.connections == set()


async def test_a_client_that_reads_late_gets_everything() -> None:
    async with serving() as served, connected(served) as socket:
        socket.reading.clear()
        await socket.say(type="response.create", input="word " * 100)
        async with asyncio.timeout(10):
            while served.service.hub.engine.stats().finished.get("stop", 0) == 0:
                await asyncio.sleep(0.01)
        socket.reading.set()
        assert text_of(await socket.until(*TERMINAL)) == "word " * 100


async def test_a_client_that_never_reads_is_dropped_at_the_deadline() -> None:
    engine = ScriptedEngine(tokens_per_s=50)
    async with serving(engine, slow_client_deadline_s=0.1) as served:
        async with connected(served, leave=False) as socket:
            socket.reading.clear()
            await socket.say(type="response.create", input="word " * 300)
            async with asyncio.timeout(10):
                while engine.stats().finished.get("cancelled", 0) == 0:
                    await asyncio.sleep(0.01)
                await served.service.hub.wait_idle()
        assert served.service.hub.connections == set()
        assert served.service.metrics.slow_clients._value.get() == 1


async def test_a_client_whose_outbox_overflows_is_dropped() -> None:
    async with serving(outbox_bytes=4096) as served:
        async with connected(served, leave=False) as socket:
            socket.reading.clear()
            await socket.say(type="response.create", input="word " * 300)
            async with asyncio.timeout(10):
                while served.service.hub.connections:
                    await asyncio.sleep(0.01)
                await served.service.hub.wait_idle()
        assert served.service.metrics.slow_clients._value.get() == 1


async def test_binary_is_refused_with_1003() -> None:
    async with serving() as served, connected(served, leave=False) as socket:
        await socket.say_bytes(b"\x81\xa1")
        closed = await socket.next()
        assert (closed["type"], closed["code"]) == ("websocket.close", 1003)


async def test_what_was_said_before_the_close_arrives_before_the_close() -> None:
    """The last words find an earlier send still waiting for its reader."""
    async with serving(connection_lifetime_s=1) as served, connected(served, leave=False) as socket:
        await socket.say(type="response.create", input="hello")
        await socket.until(*TERMINAL)
        socket.reading.clear()
        await socket.say(type="response.create", input="again")
        async with asyncio.timeout(10):
            while served.service.hub.engine.stats().finished.get("stop", 0) < 2:
                await asyncio.sleep(0.01)
        (connection,) = served.service.hub.connections
        async with asyncio.timeout(10):
            while connection._closing is None:
                await asyncio.sleep(0.01)
        socket.reading.set()
        events = await socket.until("websocket.close")
        assert [event["type"] for event in events[-3:]] == ["response.completed", "error", "websocket.close"]
        assert events[-2]["error"]["code"] == "websocket_connection_limit_reached"
        assert events[-1]["code"] == 1001


async def test_a_refused_handshake_is_an_http_answer() -> None:
    async with serving() as served:
        socket = PlainSocket(create_app(served.service), "wrong")
        await socket.run()
        start, body = await socket.next(), await socket.next()
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
        assert json.loads(body["body"])["error"]["code"] == "invalid_api_key"
