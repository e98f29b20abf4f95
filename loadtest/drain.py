"""Many sockets read as cheaply as Python can: one epoll, one buffer, frames counted and thrown away.

What reads must cost less than what is measured. Frames are counted by their first two bytes, so the texts
must be ASCII and their frames between 126 and 65,535 bytes long: deltas are.
"""

from __future__ import annotations

import base64
import os
import re
import select
import socket
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final

from msgspec import Struct

from loadtest.target import Target

_FRAME: Final = b"\x81\x7e"  # final text frame, unmasked, 16-bit length
_STAMP: Final = re.compile(rb'"delta":" ([a-j]+)"')
_DIGITS: Final = bytes.maketrans(b"abcdefghij", b"0123456789")
_TIMEOUT_S: Final = 30.0


class DrainError(Exception):
    """A socket that was refused, or that the server closed while it was read."""


class Drained(Struct, frozen=True):
    """What came within a stretch of time."""

    frames: int
    bytes: int
    wall_s: float


class Drain:
    """Open sockets to one server."""

    def __init__(self, target: Target, count: int) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._epoll = select.epoll()
        self._buffer = bytearray(1 << 18)
        try:
            for _ in range(count):
                one = _connect(target)
                self._sockets[one.fileno()] = one
                self._epoll.register(one.fileno(), select.EPOLLIN)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Drain:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for one in self._sockets.values():
            one.close()
        self._sockets.clear()
        self._epoll.close()

    def send(self, messages: Sequence[bytes]) -> None:
        """Send each message on every socket."""
        payload = b"".join(client_frame(message) for message in messages)
        for one in self._sockets.values():
            one.sendall(payload)

    def count(self, seconds: float) -> Drained:
        """Read for so long; count frames."""
        buffer, sockets, epoll = self._buffer, self._sockets, self._epoll
        frames = total = 0
        began = now = time.monotonic()
        while now < began + seconds:
            for fd, _ in epoll.poll(began + seconds - now):
                size = sockets[fd].recv_into(buffer)
                if not size:
                    raise DrainError("the server closed a connection")
                total += size
                frames += buffer.count(_FRAME, 0, size)
                frames += buffer[size - 1] == _FRAME[0]  # a read that ends within the two bytes
            now = time.monotonic()
        return Drained(frames, total, now - began)

    def ages(self, seconds: float, clock: Callable[[], int] = time.monotonic_ns) -> list[float]:
        """Read for so long; how old, in seconds, each delta was that carried the nanosecond of its making.

        The nanosecond is written in letters, a for 0 to j for 9. Maker and reader share the machine's monotonic
        clock. A frame that a read cuts in two is not counted.
        """
        buffer, sockets, epoll = self._buffer, self._sockets, self._epoll
        ages: list[float] = []
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            for fd, _ in epoll.poll(end - now):
                size = sockets[fd].recv_into(buffer)
                if not size:
                    raise DrainError("the server closed a connection")
                arrived = clock()
                ages += [
                    (arrived - int(stamp.translate(_DIGITS))) / 1e9
                    for stamp in _STAMP.findall(buffer, 0, size)
                ]
        return ages


def client_frame(payload: bytes) -> bytes:
    """One masked, unfragmented text frame (RFC 6455, 5.2 and 5.3)."""
    size = len(payload)
    if size < 126:
        head = bytes((0x81, 0x80 | size))
    elif size < 65536:
        head = b"\x81\xfe" + size.to_bytes(2)
    else:
        head = b"\x81\xff" + size.to_bytes(8)
    mask = os.urandom(4)
    stream = (mask * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload) ^ int.from_bytes(stream)).to_bytes(size)
    return head + mask + masked


def _connect(target: Target) -> socket.socket:
    """A blocking socket after its WebSocket handshake. Raises DrainError with the answer's first line."""
    one = socket.create_connection((target.host, target.port), _TIMEOUT_S)
    try:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        one.sendall(
            f"GET {target.path} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {target.key}\r\n\r\n".encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            chunk = one.recv(4096)
            if not chunk:
                raise DrainError(f"the server ended the handshake after {answer[:200]!r}")
            answer += chunk
        if not answer.startswith(b"HTTP/1.1 101 "):
            raise DrainError(f"the handshake was refused: {answer.splitlines()[0].decode(errors='replace')}")
        return one
    except BaseException:
        one.close()
        raise
