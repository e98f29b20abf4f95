"""Threads for long work on text: parsing, judging and tokenising what is too much for one turn of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from app.moderation import Abandoned
from protocol.codes import ProtocolError

R = TypeVar("R")

OFF_LOOP_CHARACTERS: Final = 4000
"""Longer texts go to a thread: 4,000 characters take about 1 ms."""
THREADS: Final = 2
MAX_WAITING: Final = 128
"""Jobs that may wait for a thread: at a millisecond each, a wait that nobody notices."""


class Workers:
    """A small pool with a bound. `stopping` tells long jobs that nobody waits for them any more."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="sluice-text")
        self._jobs = 0
        self._stopped = False

    def stopping(self) -> bool:
        return self._stopped

    async def run(self, characters: int, work: Callable[[], R]) -> R:
        """Do CPU-bound `work` on so many characters: here if they are few, in a thread if not.

        Raises ProtocolError `server_is_overloaded` when too much waits already.
        """
        if characters <= OFF_LOOP_CHARACTERS:
            return work()
        if self._jobs >= THREADS + MAX_WAITING:
            raise ProtocolError(
                "server_is_overloaded",
                "Too many long inputs wait to be read. Try again soon.",
                retry_after_s=1.0,
            )
        self._jobs += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: self._do(work))
        except (Abandoned, RuntimeError) as error:
            if not self._stopped:
                raise
            raise ProtocolError(
                "draining", "This server is shutting down. Send the request again."
            ) from error
        finally:
            self._jobs -= 1

    def close(self) -> None:
        """Take no more; what runs is asked to stop, what waits never begins."""
        self._stopped = True
        self._pool.shutdown(
            wait=False
        )  # futures are not cancelled: their waiters would take it for themselves

    def _do(self, work: Callable[[], R]) -> R:
        if self._stopped:
            raise Abandoned
        return work()

    def __repr__(self) -> str:
        return f"<Workers jobs={self._jobs} stopped={self._stopped}>"
