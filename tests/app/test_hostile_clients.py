"""Clients that vanish, flood, stall or lie: each harms itself alone and leaves nothing behind."""

from __future__ import annotations

import asyncio
import base64
import gc
import os
from collections.abc import AsyncIterator

import pytest

from engine.scripted import ScriptedEngine
from tests.app.serving import Served, serving
from tests.app.talk import talking

pytestmark = pytest.mark.anyio

CREATE = b'{"type":"response.create","input":"%s"}'
LONG = b"word " * 200


class RawSocket:
    """A WebSocket client made of bytes: it can stop in the middle of anything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, served: Served) -> RawSocket:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
        nonce = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            "GET /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {served.key}\r\n\r\n".encode()
        )
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer)

    def send(self, payload: bytes, *, announced: int | None = None) -> None:
        """A masked text frame; `announced` lies about its length."""
        size = len(payload) if announced is None else announced
        if size < 126:
            head = bytes([0x81, 0x80 | size])
        elif size < 65536:
            head = bytes([0x81, 0x80 | 126]) + size.to_bytes(2)
        else:
            head = bytes([0x81, 0x80 | 127]) + size.to_bytes(8)
        self.writer.write(head + b"\0\0\0\0" + payload)

    async def close_code(self) -> int:
        """The code of the server's close frame."""
        while True:
            opcode, size = await self.reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2))
            payload = await self.reader.readexactly(size)
            if opcode == 0x88:
                return int.from_bytes(payload[:2])

    def vanish(self) -> None:
        self.writer.transport.abort()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(ScriptedEngine(tokens_per_s=50), max_connections=2000) as server:
        yield server


async def settled(served: Served) -> None:
    """Until no connection and no response is left."""
    async with asyncio.timeout(30):
        while served.service.hub.connections:
            await asyncio.sleep(0.02)
        await served.service.hub.wait_idle()


@pytest.mark.timeout(180)
async def test_a_thousand_disconnects_mid_stream_leak_no_task_page_or_response(served: Served) -> None:
    hub = served.service.hub
    await asyncio.sleep(0)
    tasks_before = len(asyncio.all_tasks())
    for _ in range(20):
        sockets = await asyncio.gather(*(RawSocket.open(served) for _ in range(50)))
        for socket in sockets:
            socket.send(CREATE % LONG)
        for number, socket in enumerate(sockets):
            if number % 3:  # some vanish before the first event, some in the midst of text
                await socket.reader.readuntil(b"output_text.delta")
            socket.vanish()
    await settled(served)
    gc.collect()
    assert hub.engine.stats().pages_used == 0
    assert hub.engine.stats().running == hub.engine.stats().waiting == 0
    assert len(hub._live) == 0
    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > tasks_before:
            await asyncio.sleep(0.05)


async def test_a_frame_announced_with_100_mb_closes_before_it_is_read(served: Served) -> None:
    socket = await RawSocket.open(served)
    socket.send(b"{" * 1000, announced=100 << 20)
    async with asyncio.timeout(10):
        assert await socket.close_code() == 1009
    socket.vanish()
    await settled(served)


async def test_a_fragmented_flood_is_closed_at_the_limit() -> None:
    async with serving(max_body_bytes=4096) as served:
        socket = await RawSocket.open(served)
        frame = bytes([0x00, 0x80 | 126]) + (1000).to_bytes(2) + b"\0\0\0\0" + b"x" * 1000
        socket.writer.write(b"\x01" + frame[1:] + frame * 8)
        async with asyncio.timeout(10):
            assert await socket.close_code() == 1009
        socket.vanish()


async def test_a_half_open_socket_is_found_by_its_silence() -> None:
    async with serving(ScriptedEngine(tokens_per_s=1), ping_interval_s=1, ping_timeout_s=1) as served:
        socket = await RawSocket.open(served)
        socket.send(CREATE % LONG)
        await socket.reader.readuntil(b"output_text.delta")
        socket.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await settled(served)  # it answers no ping
        assert served.service.hub.engine.stats().finished["cancelled"] == 1
        socket.vanish()


async def test_a_neighbour_of_a_flood_of_errors_is_served(served: Served) -> None:
    async with talking(served) as flood, talking(served) as neighbour:
        for _ in range(500):
            await flood.socket.send("{")
        assert (await neighbour.turn("unharmed"))[-1]["type"] == "response.completed"
        for _ in range(500):
            assert (await flood.next())["error"]["code"] == "invalid_json"


async def test_a_handshake_that_never_ends_holds_no_place(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
    writer.write(b"GET /v1/responses HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n")
    async with talking(served) as talk:
        assert (await talk.turn("unharmed"))[-1]["type"] == "response.completed"
        assert len(served.service.hub.connections) == 1
    writer.transport.abort()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)


async def test_connections_past_the_limit_get_429_and_the_others_stay() -> None:
    async with serving(max_connections=2) as served, talking(served) as one, talking(served) as two:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
        writer.write(
            b"GET /v1/responses HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            b"Authorization: Bearer " + served.key.encode() + b"\r\n\r\n"
        )
        answer = await reader.readuntil(b"\r\n\r\n")
        assert b" 429 " in answer
        assert b"retry-after" in answer.lower()
        writer.close()
        for talk in (one, two):
            assert (await talk.turn("here"))[-1]["type"] == "response.completed"


async def test_a_request_whose_head_never_ends_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.transport.HEAD_WAIT_S", 0.3)
    async with serving() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


async def test_a_body_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.answers.BODY_WAIT_S", 0.3)
    async with serving() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
        writer.write(
            b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n"
            b"Authorization: Bearer " + served.key.encode() + b'\r\n\r\n{"input":'
        )
        async with asyncio.timeout(5):
            assert b" 408 " in await reader.readuntil(b"\r\n\r\n")
        writer.close()


async def test_a_second_head_that_never_ends_is_dropped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.transport.HEAD_WAIT_S", 0.3)
    async with serving() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nG")
        async with asyncio.timeout(5):
            assert (await reader.read()).startswith(b"HTTP/1.1 200")  # up to the end of the connection
        writer.close()


async def test_an_http_client_that_never_reads_is_dropped() -> None:
    async with serving(slow_client_deadline_s=0.5) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /main.js HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
        async with asyncio.timeout(20):
            while served.server.server_state.connections or served.server.server_state.total_requests == 0:
                await asyncio.sleep(0.05)
        writer.transport.abort()
        del reader


async def test_a_head_without_end_is_bounded(served: Served) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
    sent = 0
    with pytest.raises(ConnectionError):
        while sent < 64 << 20:
            writer.write(b"X-A: " + b"a" * 65536 + b"\r\n")
            await writer.drain()
            sent += 65536
    writer.transport.abort()


@pytest.mark.parametrize("frame", [b"\x8a\x80\0\0\0\0", b"\x89\x80\0\0\0\0", b"\x81\x80\0\0\0\0"])
async def test_a_flood_of_tiny_frames_leaves_the_loop_to_the_others(served: Served, frame: bytes) -> None:
    """Pongs, pings and empty texts: while they are parsed, the neighbour's turns go on."""
    flood = await RawSocket.open(served)
    flood.writer.write(frame * 100_000)
    async with talking(served) as neighbour:
        for _ in range(5):
            assert (await neighbour.turn("unharmed"))[-1]["type"] == "response.completed"
        largest = max(len(protocol._unread) for protocol in served.server.server_state.connections)  # type: ignore[union-attr]
        assert largest < 2 << 20  # reading is paused while there is something to parse
    flood.vanish()
    await settled(served)


@pytest.mark.parametrize(
    "frame", [b"\x8a\x80\0\0\0\0", b"\x89\x80\0\0\0\0", b"\x00\x80\0\0\0\0"], ids=["pong", "ping", "fragment"]
)
async def test_a_flood_of_frames_that_say_nothing_ends_the_connection(served: Served, frame: bytes) -> None:
    flood = await RawSocket.open(served)
    flood.writer.write(b"\x01\x80\0\0\0\0" + frame * 300_000)
    async with asyncio.timeout(60):
        assert await flood.close_code() == 1008
    flood.vanish()
    await settled(served)


@pytest.mark.parametrize("frame", [b"\x8a\x80\0\0\0\0", b"\x89\x80\0\0\0\0"], ids=["pong", "ping"])
async def test_a_burst_of_heartbeats_harms_nothing(served: Served, frame: bytes) -> None:
    socket = await RawSocket.open(served)
    socket.writer.write(frame * 5_000)
    socket.send(CREATE % b"still here")
    async with asyncio.timeout(20):
        await socket.reader.readuntil(b"response.completed")
    socket.vanish()


async def test_a_message_in_many_fragments_of_some_length_is_read(served: Served) -> None:
    """It is no JSON, and is told so: the connection stays."""
    socket = await RawSocket.open(served)
    fragment = b"\xfe" + (128).to_bytes(2) + b"\0\0\0\0" + b"x" * 128
    socket.writer.write(b"\x01" + fragment + (b"\x00" + fragment) * 15_000 + b"\x80" + fragment)
    async with asyncio.timeout(20):
        await socket.reader.readuntil(b"invalid_json")
    socket.vanish()


async def test_trailers_are_not_kept(served: Served) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
    head = b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    writer.write(head + b"X-T: y\r\n" * 10_000)
    async with asyncio.timeout(10):
        while not served.server.server_state.connections:
            await asyncio.sleep(0.01)
        (protocol,) = served.server.server_state.connections
        await asyncio.sleep(0.1)
    assert len(protocol.headers) < 10  # type: ignore[union-attr]
    writer.transport.abort()


async def test_an_upgrade_behind_an_unfinished_answer_is_refused(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
    upgrade = (
        b"GET /v1/responses HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"Authorization: Bearer " + served.key.encode() + b"\r\n\r\n"
    )
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + upgrade)
    async with asyncio.timeout(10):
        answer = b""
        try:
            while chunk := await reader.read(4096):
                answer += chunk
        except ConnectionError:
            pass
    assert b" 101 " not in answer
    writer.close()
    assert not served.service.hub.connections
