"""A stream of server-sent events: what it sends, how long it waits, and whom it tells when the client goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.sse import EventStream
from app.wire import WIRE
from engine.playback import Fault
from engine.request import EngineRequest
from engine.scripted import ScriptedEngine
from protocol.codec import SSE_KEEPALIVE
from tests.app.dialects import PATHS, body_of, client_of, take_turn
from tests.app.serving import Served, serving

pytestmark = pytest.mark.anyio


class Client:
    """One HTTP client as ASGI shows it: it reads while `reading` is set, and may hang up."""

    def __init__(self, *, abortable: bool = True) -> None:
        self.reading = asyncio.Event()
        self.reading.set()
        self.hung_up = asyncio.Event()
        self.breaks: Exception | None = None
        self.sent: list[dict[str, Any]] = []
        self.aborted = 0
        self.left = 0
        self._asked = False
        self.scope: dict[str, Any] = {"type": "http"}
        if abortable:
            self.scope["extensions"] = {WIRE: self._abort}

    def _abort(self) -> None:
        self.aborted += 1

    def leave(self) -> None:
        self.left += 1

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            await self.reading.wait()
            if self.breaks is not None:
                raise self.breaks
        self.sent.append(dict(message))

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def whole(self) -> bool:
        return bool(self.sent) and self.sent[-1].get("more_body") is False

    def stream(
        self, *, max_bytes: int = 1000, deadline_s: float = 30, keepalive_s: float = 30
    ) -> EventStream:
        return EventStream(
            max_bytes=max_bytes, deadline_s=deadline_s, keepalive_s=keepalive_s, on_leave=self.leave
        )

    async def answer(self, stream: EventStream) -> None:
        async with asyncio.timeout(10):
            await stream(self.scope, self.receive, self.send)


async def eventually(client: Client, chunk: bytes) -> None:
    async with asyncio.timeout(10):
        while chunk not in client.body:
            await asyncio.sleep(0.001)


async def test_what_is_offered_is_sent_and_the_end_ends_it() -> None:
    client = Client()
    stream = client.stream()
    stream.offer(b"one ")
    stream.offer(b"")
    stream.offer(b"two ")
    answering = asyncio.create_task(client.answer(stream))
    await eventually(client, b"two")
    stream.offer(b"three")
    stream.end()
    stream.end()
    await answering
    assert client.body == b"one two three"
    assert dict(client.sent[0]["headers"])[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert (client.whole, client.left, client.aborted) == (True, 0, 0)


async def test_silence_is_filled_with_comments() -> None:
    client = Client()
    stream = client.stream(keepalive_s=0.01)
    answering = asyncio.create_task(client.answer(stream))
    await eventually(client, SSE_KEEPALIVE * 3)
    stream.offer(b"at last")
    stream.end()
    await answering
    assert client.body.replace(SSE_KEEPALIVE, b"") == b"at last"
    assert client.left == 0


async def test_a_client_that_hangs_up_is_left_once() -> None:
    client = Client()
    stream = client.stream()
    stream.offer(b"one")
    answering = asyncio.create_task(client.answer(stream))
    await eventually(client, b"one")
    client.hung_up.set()
    await answering
    stream.offer(b"late")
    stream.end()
    assert (client.body, client.whole, client.left, client.aborted) == (b"one", False, 1, 0)


@pytest.mark.parametrize("abortable", [True, False])
async def test_a_client_that_reads_nothing_is_dropped_at_the_deadline(abortable: bool) -> None:
    client = Client(abortable=abortable)
    client.reading.clear()
    stream = client.stream(deadline_s=0.01)
    stream.offer(b"never read")
    await client.answer(stream)
    assert (client.body, client.whole, client.left, client.aborted) == (b"", False, 1, int(abortable))


async def test_a_keepalive_that_nobody_reads_counts_too() -> None:
    client = Client()
    client.reading.clear()
    await client.answer(client.stream(deadline_s=0.01, keepalive_s=0.01))
    assert (client.left, client.aborted) == (1, 1)


@pytest.mark.parametrize(("size", "kept"), [(999, True), (1000, True), (1001, False)])
async def test_a_client_for_whom_too_much_piles_up_is_dropped(size: int, kept: bool) -> None:
    client = Client()
    stream = client.stream(max_bytes=1000)
    stream.offer(b"x" * (size - 1))
    stream.offer(b"y")
    stream.offer(b"" if kept else b"z")
    stream.end()
    await client.answer(stream)
    assert client.whole is kept
    assert client.body == (b"x" * (size - 1) + b"y" if kept else b"")
    assert (client.left, client.aborted) == (int(not kept), int(not kept))


async def test_what_was_sent_makes_room() -> None:
    client = Client()
    stream = client.stream(max_bytes=10)
    answering = asyncio.create_task(client.answer(stream))
    for letter in (b"a", b"b", b"c"):
        stream.offer(letter * 10)
        await eventually(client, letter * 10)
    stream.end()
    await answering
    assert (client.body, client.left) == (b"a" * 10 + b"b" * 10 + b"c" * 10, 0)


async def test_a_connection_that_breaks_is_left() -> None:
    client = Client()
    client.breaks = ConnectionResetError("gone")
    stream = client.stream()
    stream.offer(b"x")
    await client.answer(stream)
    assert (client.left, client.aborted) == (1, 1)


async def test_an_answer_that_is_cancelled_leaves_the_response() -> None:
    client = Client()
    answering = asyncio.create_task(client.answer(client.stream()))
    async with asyncio.timeout(10):
        while not client.sent:
            await asyncio.sleep(0)
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert client.left == 1


async def test_a_bug_in_sending_is_not_hidden() -> None:
    client = Client()
    client.breaks = ZeroDivisionError("a bug")
    stream = client.stream()
    stream.offer(b"x")
    with pytest.raises(ExceptionGroup):
        await client.answer(stream)
    assert client.left == 1


def stalls(request: EngineRequest) -> Fault | None:
    source = request.source if isinstance(request.source, str) else request.source[-1].content
    return Fault(1) if source.startswith("stall") else None


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(ScriptedEngine(faults=stalls), keepalive_s=1) as server:
        yield server


@pytest.mark.parametrize("kind", ["responses", "chat", "completion"])
async def test_a_silent_stream_gets_comments_and_a_hang_up_ends_it(served: Served, kind: str) -> None:
    body = body_of(kind, "stall here") | {"stream": True}
    async with client_of(served) as client:
        async with client.stream("POST", PATHS.get(kind, "/v1/responses"), json=body) as answer:
            async for line in answer.aiter_lines():
                if line == ": keep-alive":
                    break
    async with asyncio.timeout(10):
        await served.service.hub.wait_idle()
    assert served.service.hub.engine.stats().finished["cancelled"] == 1
    assert served.service.hub.engine.stats().pages_used == 0


class RawPost:
    """A POST by hand, whose answer is read only when asked for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, served: Served, body: dict[str, Any], path: str = "/v1/responses") -> RawPost:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port, limit=1024)
        data = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {served.key}\r\n"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        writer.write(head.encode() + data)
        return cls(reader, writer)

    async def is_cut_off(self) -> bool:
        """Whether the connection ends without the answer's last chunk."""
        data = b""
        try:
            while chunk := await self.reader.read(1 << 16):
                data = (data + chunk)[-16:]
        except ConnectionError:
            pass
        self.writer.close()
        return not data.endswith(b"0\r\n\r\n")


def one_token(text: str) -> list[str]:
    return [text]


@pytest.mark.parametrize("kind", ["responses", "chat"])
async def test_a_stream_that_nobody_reads_is_dropped_and_its_neighbour_is_not(kind: str) -> None:
    """An endless reply fills the kernel's buffers, then ours; the deadline ends it."""
    engine = ScriptedEngine(tokens_per_s=400, split=one_token)
    settings = {"slow_client_deadline_s": 0.5, "outbox_bytes": 1 << 22}
    async with serving(engine, **settings) as served:
        body = body_of(kind, "word " * 10_000) | {"stream": True, "ignore_eos": True}
        post = await RawPost.open(served, body, PATHS.get(kind, "/v1/responses"))
        async with asyncio.timeout(30):
            while engine.stats().finished.get("cancelled", 0) == 0:
                assert (await take_turn(served, "sse", "unharmed")).text == "unharmed"
            await served.service.hub.wait_idle()
            assert await post.is_cut_off()
        assert engine.stats().pages_used == 0


async def test_a_stream_whose_events_do_not_fit_the_outbox_is_cut_off() -> None:
    async with serving(ScriptedEngine(split=one_token), outbox_bytes=4096) as served:
        post = await RawPost.open(served, body_of("responses", "word " * 2000) | {"stream": True})
        async with asyncio.timeout(10):
            assert await post.is_cut_off()
        assert (await take_turn(served, "sse", "unharmed")).text == "unharmed"
