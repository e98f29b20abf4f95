"""Threads for long work on text: parsing, judging and tokenising what is too much for one turn of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from app.moderation import Abandoned
from protocol.codes import ProtocolError

R = TypeVar("R")

HERE_CHARACTERS: Final = 4000
"""Texts up to here are done on the spot: 4,000 characters take about 1 ms."""
SHORT_CHARACTERS: Final = 65_536
"""Texts up to here take milliseconds; longer ones may take seconds and have a thread of their own."""
MAX_WAITING: Final = 128
MAX_WAITING_CHARACTERS: Final = 32 << 20


class Workers:
    """A thread to read frames and bodies, one for short texts and one for long ones, with a bound for all.

    What is quick never waits behind what is slow: a cancel is read while somebody's megabytes are judged. `stopping`
    tells long jobs that nobody waits for them any more.
    """

    def __init__(self) -> None:
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="sluice-read")
        self._short = ThreadPoolExecutor(1, thread_name_prefix="sluice-short")
        self._long = ThreadPoolExecutor(1, thread_name_prefix="sluice-long")
        self._jobs = 0
        self._characters = 0
        self._stopped = False

    def stopping(self) -> bool:
        return self._stopped

    async def read(self, characters: int, work: Callable[[], R]) -> R:
        """Parse so many characters: here if they are few, else in the reader's thread. Raises as `run` does."""
        return await self._run(self._reader, characters, work)

    async def run(self, characters: int, work: Callable[[], R]) -> R:
        """Judge or tokenise so many characters: here if they are few, else in a thread.

        Raises ProtocolError `server_is_overloaded` when too much waits already, `draining` at the end.
        """
        return await self._run(
            self._short if characters <= SHORT_CHARACTERS else self._long, characters, work
        )

    def close(self) -> None:
        """Take no more; what runs is asked to stop, what waits never begins."""
        self._stopped = True
        for pool in (self._reader, self._short, self._long):
            pool.shutdown(wait=False)  # futures are not cancelled: their waiters would take it for themselves

    async def _run(self, pool: ThreadPoolExecutor, characters: int, work: Callable[[], R]) -> R:
        if characters <= HERE_CHARACTERS:
            return work()
        if self._jobs and (
            self._jobs >= MAX_WAITING or self._characters + characters > MAX_WAITING_CHARACTERS
        ):
            raise ProtocolError(
                "server_is_overloaded",
                "Too many long inputs wait to be read. Try again soon.",
                retry_after_s=1.0,
            )
        self._jobs += 1
        self._characters += characters
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, lambda: self._do(work))
        except (Abandoned, RuntimeError) as error:
            if not self._stopped:
                raise
            raise ProtocolError(
                "draining", "This server is shutting down. Send the request again."
            ) from error
        finally:
            self._jobs -= 1
            self._characters -= characters

    def _do(self, work: Callable[[], R]) -> R:
        if self._stopped:
            raise Abandoned
        return work()

    def __repr__(self) -> str:
        return f"<Workers jobs={self._jobs} characters={self._characters} stopped={self._stopped}>"
