"""A peer of literal bytes: what it answers to each request is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from loadtest.target import Target
from tests.app.serving import Served

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def over_socket(served: Served, key: str | None = None) -> Target:
    return Target("ws", "127.0.0.1", served.server.port, "/v1/responses", key or served.key)


def over_http(served: Served, key: str | None = None) -> Target:
    return Target(
        "http",
        "127.0.0.1",
        served.server.port,
        "/v1",
        key or served.key,
        "http",
        served.service.hub.engine.model.id,
    )


def chunk(content: str = "", end: str = "") -> bytes:
    """One chunk of a completion as a peer sends it."""
    finish = f'"{end}"' if end else "null"
    return b'data: {"choices":[{"delta":{"content":"%s"},"finish_reason":%s}]}\n\n' % (
        content.encode(),
        finish.encode(),
    )


@asynccontextmanager
async def answering(answers: Sequence[bytes], seen: list[bytes] | None = None) -> AsyncIterator[Target]:
    """A server on loopback that reads each request whole, gives the next answer and closes."""
    left = iter(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = [
            line.split(b":")[1] for line in head.split(b"\r\n") if line.startswith(b"Content-Length")
        ]
        request = head + await reader.readexactly(int(length))
        if seen is not None:
            seen.append(request)
        writer.write(next(left))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield Target("http", "127.0.0.1", port, "/v1", "", "peer", "m")
