"""A socket's bounded queue: straight to the transport while the socket takes bytes, else to a writer task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from app.emitter import Sink
from app.flush import Flush
from app.wire import HEADS, Wire, text_frame

BURST: Final = 256
"""Payloads of one turn of the event loop after which they are written at once."""

_NONE: Final = b""


class SocketOutbox(Sink):
    """Payloads on their way to one socket, in order.

    While the socket takes bytes all of a turn of the event loop leaves in one write. When it does not, they wait for
    the task that runs `write_waiting`, at most `max_bytes` of them; past that `on_full` is called.
    """

    # Small, and apart from the connection: what a token touches is what it costs when there are hundreds of sockets.
    __slots__ = (
        "_closed",
        "_emptied",
        "_first",
        "_flush",
        "_many",
        "_max_bytes",
        "_on_full",
        "_rest",
        "_send_text",
        "_stalled",
        "_taking",
        "_transport",
        "_waiting",
        "_wire",
        "held",
    )

    def __init__(
        self,
        wire: Wire | None,
        flush: Flush,
        *,
        send_text: Callable[[str], Awaitable[None]],
        max_bytes: int,
        on_full: Callable[[], None],
    ) -> None:
        """Without a wire (another ASGI server) everything leaves by `send_text`."""
        self._wire = wire
        self._flush = flush
        self._send_text = send_text
        self._max_bytes = max_bytes
        self._on_full = on_full
        self._first: bytes | None = None  # what waits; `_NONE` where it is in `_rest` alone
        self._rest: list[bytes] = []
        self._many = False  # there is something in `_rest`
        self._waiting = False  # the writer task has it all
        self._closed = False
        self.held = 0  # bytes, counted while they wait
        self._stalled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._taking = wire is not None and wire.taking
        if wire is not None:
            self._transport = wire.transport
            wire.on_taking = self._take_note

    def offer(self, payload: bytes, number: int = 0, event: object = None) -> None:
        """Queue a payload for this turn's flush. As a `Sink` it reads a response of the default lane."""
        if self._first is None:
            self._first = payload
            self._flush.mark(self)
        elif self._waiting or len(self._rest) >= BURST:
            self._queue(payload)
        else:
            self._rest.append(payload)
            self._many = True

    def flush(self) -> None:
        """Give everything to the socket if it takes bytes, else to the writer task."""
        first = self._first
        if first is None or self._waiting:
            return
        if self._taking and not self._many:
            self._first = None
            self._transport.write(text_frame(first))
        elif self._taking:
            self._first = None
            self._many = False
            frames = [HEADS[len(p)] + p if len(p) < 512 else text_frame(p) for p in (first, *self._rest)]
            self._rest = []
            self._transport.write(b"".join(frames))
        else:
            self._waiting = True
            self.held = len(first) + sum(map(len, self._rest))
            self._emptied.clear()
            self._stalled.set()

    async def write_waiting(self, deadline_s: float) -> None:
        """Send what the direct way could not, as the client reads. Returns when it reads nothing for so long."""
        while True:
            await self._stalled.wait()
            self._stalled.clear()
            try:
                while self._first or self._rest:
                    async with asyncio.timeout(deadline_s):
                        await self._write()
            except TimeoutError:
                return
            if not self._closed:
                self._waiting = False
                self._first = None
            self._emptied.set()

    async def wait_empty(self) -> None:
        """Until nothing waits for the reader."""
        await self._emptied.wait()

    def close(self) -> None:
        """Drop what is there and what will come."""
        self._closed = self._waiting = True
        self._take()

    async def _write(self) -> None:
        if self._wire is not None:
            await self._wire.wait_writable()
            self._wire.write(self._take())
            return
        for payload in self._take():
            await self._send_text(payload.decode())

    def _take(self) -> list[bytes]:
        """Everything; what comes next has to wait as well."""
        payloads = [self._first, *self._rest] if self._first else self._rest
        self._first, self._rest, self._many = _NONE, [], False
        self.held = 0
        return payloads

    def _queue(self, payload: bytes) -> None:
        """Where it is not simply the turn's next one: nobody takes bytes now, or the turn has made many."""
        if self._closed:
            return
        if not self._waiting:
            self.flush()
            self.offer(payload)
            return
        self.held += len(payload)
        if self.held > self._max_bytes:
            self._on_full()
        else:
            self._rest.append(payload)

    def _take_note(self, taking: bool) -> None:
        self._taking = taking

    def __repr__(self) -> str:
        state = "closed" if self._closed else "waiting" if self._waiting else "open"
        return f"<SocketOutbox {state} held={self.held}>"
