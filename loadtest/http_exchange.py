"""One HTTP/1.1 request on a connection of its own, the answer's body as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from httptools import HttpParserError, HttpResponseParser

from loadtest.faults import NotHttp, StreamCut
from loadtest.target import Target

_READ: Final = 1 << 16
_KEEP: Final = 1 << 20  # of a body that is read as a whole


class Exchange:
    """An answer while it comes. httptools calls the methods that begin with `on_`."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._parser = HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._begun = False
        self._ended = False
        self._framed = False  # whether the body has an end of its own; without one it is the connection's

    def on_header(self, name: bytes, value: bytes) -> None:
        self._framed |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self._begun = True

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._ended = True

    async def status(self) -> int:
        while not self._begun:
            await self._feed()
        return int(self._parser.get_status_code())

    async def body(self) -> AsyncIterator[bytes]:
        """Pieces as they come. Raises StreamCut if the connection ends before the body does."""
        while True:
            pieces, self._pieces = self._pieces, []
            for piece in pieces:
                yield piece
            if self._ended:
                return
            await self._feed()

    async def whole(self) -> bytes:
        """The body's first MiB."""
        body = b""
        async for piece in self.body():
            body += piece
            if len(body) > _KEEP:
                break
        return body[:_KEEP]

    async def _feed(self) -> None:
        data = await self._reader.read(_READ)
        if not data and self._begun and not self._framed:
            self._ended = True
            return
        if not data:
            raise StreamCut("the connection ended before the answer did")
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            raise NotHttp(str(error)) from error


@asynccontextmanager
async def exchange(target: Target, method: str, path: str, body: bytes = b"") -> AsyncIterator[Exchange]:
    """Send a request for `path`, with the target's key, and hand out its answer."""
    reader, writer = await asyncio.open_connection(target.host, target.port, ssl=target.encrypted or None)
    try:
        writer.write(_head(target, method, path, len(body)) + body)
        yield Exchange(reader)
    finally:
        writer.close()


def _head(target: Target, method: str, path: str, length: int) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {target.netloc}",
        "Connection: close",
        "Accept: application/json, text/event-stream",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    ]
    if target.key:
        lines.append(f"Authorization: Bearer {target.key}")
    return "\r\n".join([*lines, "", ""]).encode()
