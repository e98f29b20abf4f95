"""The bare loop: ready frames written to uvloop transports, nothing else. The limit that a hub is measured by.

It answers a WebSocket handshake, and from a client's first frame on writes to it in every step. No frame is
built but the one of the step, no message read, no state kept.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
import time
from typing import Final, cast

import uvloop

from protocol.codec import encode
from protocol.events import OutputTextDelta

_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_LETTERS: Final = str.maketrans("0123456789", "abcdefghij")
_BIG_ID: Final = "msg_" + "0" * 32


def moment(nanoseconds: int) -> str:
    """A delta's text that says when its step was: a word of letters, a for 0 to j for 9."""
    return " " + str(nanoseconds).translate(_LETTERS)


def delta_frame(text: str) -> bytes:
    """A text frame with a delta event, of the size that the hub's have."""
    event = OutputTextDelta(
        sequence_number=1000, item_id=_BIG_ID, output_index=0, content_index=0, delta=text
    )
    data = encode(event)
    assert 126 <= len(data) < 65536, len(data)
    return b"\x81\x7e" + len(data).to_bytes(2) + data


class RawConnection(asyncio.Protocol):
    """One socket of the bare loop."""

    def __init__(self, loop: RawLoop) -> None:
        self._loop = loop
        self._request = b""
        self._open = False
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)  # uvloop's are no subclass

    def data_received(self, data: bytes) -> None:
        if not self._open:
            self._shake_hands(data)
        else:
            self._loop.writing.add(self)

    def _shake_hands(self, data: bytes) -> None:
        self._request += data
        if b"\r\n\r\n" not in self._request:
            return
        assert self.transport is not None
        key = self._request.lower().partition(b"sec-websocket-key:")[0]
        key = self._request[len(key) :].partition(b":")[2].split(b"\r\n", 1)[0].strip()
        accept = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self._open = True

    def pause_writing(self) -> None:
        self._loop.writing.discard(self)

    def resume_writing(self) -> None:
        self._loop.writing.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._loop.writing.discard(self)


class RawLoop:
    """Writes `frames_per_write` frames, joined, to every socket in each step; steps follow each other at once, or
    at `steps_per_s`. A paced step's frames carry its time in nanoseconds, so that a reader knows their age."""

    def __init__(self, steps_per_s: float, frames_per_write: int) -> None:
        self.writing: set[RawConnection] = set()  # open, asked for, and taking bytes
        self._interval_s = 1 / steps_per_s if steps_per_s else 0.0
        self._frames_per_write = frames_per_write
        self._fixed = delta_frame(" hello") * frames_per_write

    async def run(self) -> None:
        server = await asyncio.get_running_loop().create_server(
            lambda: RawConnection(self), "127.0.0.1", 0, backlog=4096
        )
        async with server:
            print(server.sockets[0].getsockname()[1], flush=True)
            await (self._paced() if self._interval_s else self._fast())

    async def _fast(self) -> None:
        while True:
            payload = self._fixed
            for connection in tuple(self.writing):
                connection.transport.write(payload)  # type: ignore[union-attr]
            await asyncio.sleep(0 if self.writing else 0.01)

    async def _paced(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += self._interval_s
            await asyncio.sleep(due - loop.time())
            payload = delta_frame(moment(time.monotonic_ns())) * self._frames_per_write
            for connection in tuple(self.writing):
                connection.transport.write(payload)  # type: ignore[union-attr]


def serve_raw(steps_per_s: float, frames_per_write: int) -> None:
    """Serve on a free loopback port, printed first, until the process is ended."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(RawLoop(steps_per_s, frames_per_write).run())


if __name__ == "__main__":
    serve_raw(float(sys.argv[1]), int(sys.argv[2]))
