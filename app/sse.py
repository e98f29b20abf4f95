"""Server-sent events: a bounded stream of chunks to one HTTP client, with keep-alives and a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from starlette.types import Receive, Scope, Send

from app.outbox import Outbox
from app.wire import abort_of
from protocol.codec import SSE_KEEPALIVE

HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}
PIECE: Final = 256
"""Chunks of the past sent at once: some 50 KiB."""


class EventStream:
    """An ASGI response fed by `offer` and ended by `end`.

    `on_leave` is called once when the client goes before the end: it hung up, read nothing for `deadline_s`,
    or let more than `max_bytes` pile up. `past` is sent first, a piece at a time as the client reads.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        deadline_s: float,
        keepalive_s: float,
        on_leave: Callable[[], None],
        past: Iterable[bytes] = (),
    ) -> None:
        self._past = iter(past)
        self._outbox = Outbox(max_bytes)
        self._deadline_s = deadline_s
        self._keepalive_s = keepalive_s
        self._on_leave = on_leave
        self._wake = asyncio.Event()
        self._ended = False
        self._overflow = False

    def offer(self, chunk: bytes) -> None:
        """Queue a ready chunk. Past the bound the client is dropped."""
        if not chunk or self._overflow:
            return
        if not self._outbox.offer(chunk):
            self._overflow = True
        self._wake.set()

    def end(self) -> None:
        self._ended = True
        self._wake.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        abort = abort_of(scope)
        finished = False
        try:
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(self._watch(receive))
                sender = group.create_task(self._send_all(send))
                await asyncio.wait([watcher, sender], return_when=asyncio.FIRST_COMPLETED)
                finished = sender.done() and sender.exception() is None
                watcher.cancel()
                sender.cancel()
        except* (TimeoutError, OSError):
            if abort is not None:
                abort()
        finally:
            if not finished:
                self._on_leave()

    async def _watch(self, receive: Receive) -> None:
        """Until the client hangs up."""
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _send_all(self, send: Send) -> None:
        headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while piece := b"".join(islice(self._past, PIECE)):
            await self._send(send, piece)
        while True:
            chunks = self._outbox.take()
            self._wake.clear()
            if self._overflow:
                raise TimeoutError("the client reads too slowly")
            if chunks:
                await self._send(send, b"".join(chunks))
            elif self._ended:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            else:
                try:
                    async with asyncio.timeout(self._keepalive_s):
                        await self._wake.wait()
                except TimeoutError:
                    await self._send(send, SSE_KEEPALIVE)

    async def _send(self, send: Send, body: bytes) -> None:
        async with asyncio.timeout(self._deadline_s):
            await send({"type": "http.response.body", "body": body, "more_body": True})
