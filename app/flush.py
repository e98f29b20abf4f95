"""One write a socket and turn of the event loop: who has something to send is flushed when the turn's work is done.

A step's deltas reach the loop in one callback; everything it offered to a connection leaves in one write,
which is what a socket costs (docs/benchmarks.md). Of hundreds of sockets a lot is flushed at a time, before what
was made for them has left the processor's caches.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

log = logging.getLogger("sluice.flush")


LOT: Final = 64
"""Connections with something to send before a turn's end is not waited for: twice a model's batch by default, so that
its tokens for one connection share a write whatever their order."""


class Flushable(Protocol):
    def flush(self) -> None: ...


class Flush:
    """Collects the connections with something to send and flushes each once, or once a lot."""

    __slots__ = ("_loop", "_planned", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[Flushable] = []  # at most one entry a connection
        self._planned = False

    def mark(self, connection: Flushable) -> None:
        """Flush `connection` by the end of this turn; the caller marks itself once until it is flushed."""
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self._end_turn)
        elif len(self._waiting) >= LOT:
            self._flush()
        self._waiting.append(connection)

    def _end_turn(self) -> None:
        self._planned = False
        self._flush()

    def _flush(self) -> None:
        waiting = self._waiting
        self._waiting = []
        for connection in waiting:
            try:
                connection.flush()
            except Exception:  # one socket's fault is not its neighbours'
                log.exception("flush failed connection=%r", connection)
