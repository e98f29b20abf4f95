"""One write a socket and turn of the event loop: who has something to send is flushed when the turn's work is done.

A step's deltas reach the loop in one callback; everything it offered to a connection leaves in one write,
which is what a socket costs (docs/benchmarks.md).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

log = logging.getLogger("sluice.flush")


class Flushable(Protocol):
    def flush(self) -> None: ...


class Flush:
    """Collects the connections with something to send and flushes each once."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[Flushable] = []  # at most one entry a connection

    def mark(self, connection: Flushable) -> None:
        """Flush `connection` at the end of this turn; the caller marks itself once until it is flushed."""
        if not self._waiting:
            self._loop.call_soon(self._run)
        self._waiting.append(connection)

    def _run(self) -> None:
        waiting = self._waiting
        self._waiting = []
        for connection in waiting:
            try:
                connection.flush()
            except Exception:  # one socket's fault is not its neighbours'
                log.exception("flush failed connection=%r", connection)
