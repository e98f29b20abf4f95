"""Threads for long work on text: parsing, judging and tokenising what is too much for one turn of the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from app.fair_queue import FairQueue, Room
from app.moderation import Abandoned
from protocol.codes import ProtocolError

R = TypeVar("R")

HERE_CHARACTERS: Final = 4000
"""Texts up to here are done on the spot: 4,000 characters take about 1 ms."""
SHORT_CHARACTERS: Final = 65_536
"""Texts up to here take milliseconds; longer ones may take seconds and have a thread of their own."""
MAX_WAITING: Final = 256
MAX_WAITING_CHARACTERS: Final = 32 << 20
"""Both are for all tenants together; one may have half."""
MAX_FORMATS_WAITING: Final = 64
MAX_FORMATS_CHARACTERS: Final = 8 << 20
"""The same of formats: one of 2,000 patterns takes 0.8 s, so the queue's last waits for less than a minute."""


class Workers:
    """A thread to read frames and bodies, one for short texts, one for long ones and one for formats, with bounds.

    What is quick never waits behind what is slow: a cancel is read while somebody's megabytes are judged, a text is
    tokenised while somebody's schema is compiled. Tenants take turns. `stopping` tells long jobs that nobody waits for
    them any more.
    """

    def __init__(self) -> None:
        self._reader = _Lane("sluice-read")
        self._short = _Lane("sluice-short")
        self._long = _Lane("sluice-long")
        self._formats = _Lane("sluice-formats")
        self.room = Room(MAX_WAITING, MAX_WAITING_CHARACTERS)
        self.formats = Room(MAX_FORMATS_WAITING, MAX_FORMATS_CHARACTERS)
        self._stopped = False

    def stopping(self) -> bool:
        return self._stopped

    async def read(self, tenant: str, characters: int, work: Callable[[], R]) -> R:
        """Parse so many characters: here if they are few, else in the reader's thread. Raises as `run` does."""
        return await self._run(self._reader, tenant, characters, work)

    async def run(self, tenant: str, characters: int, work: Callable[[], R]) -> R:
        """Judge or tokenise so many characters: here if they are few, else in a thread.

        Raises ProtocolError `server_is_overloaded` when too much waits already, `draining` at the end.
        """
        lane = self._short if characters <= SHORT_CHARACTERS else self._long
        return await self._run(lane, tenant, characters, work)

    async def compile(self, tenant: str, characters: int, work: Callable[[], R]) -> R:
        """Compile a format of so many characters: in its thread however few they are, for few may take a second.

        Raises as `run` does.
        """
        return await self._wait(
            self._formats, self.formats, "formats wait to be compiled", tenant, characters, work
        )

    def close(self) -> None:
        """Take no more; what runs is asked to stop, what waits never begins."""
        self._stopped = True
        for lane in (self._reader, self._short, self._long, self._formats):
            lane.close()

    async def _run(self, lane: _Lane, tenant: str, characters: int, work: Callable[[], R]) -> R:
        if characters <= HERE_CHARACTERS:
            return work()
        return await self._wait(lane, self.room, "long inputs wait to be read", tenant, characters, work)

    async def _wait(
        self, lane: _Lane, room: Room, full: str, tenant: str, characters: int, work: Callable[[], R]
    ) -> R:
        """`full` says what there is too much of where there is no room."""
        if self._stopped:
            raise _draining()
        if not room.enter(tenant, characters):
            raise ProtocolError(
                "server_is_overloaded", f"Too many {full}. Try again soon.", retry_after_s=1.0
            )
        try:
            return await asyncio.wrap_future(lane.put(tenant, lambda: self._do(work)))
        except Abandoned as error:
            raise _draining() from error
        finally:
            room.leave(tenant, characters)

    def _do(self, work: Callable[[], R]) -> R:
        if self._stopped:
            raise Abandoned
        return work()

    def __repr__(self) -> str:
        return f"<Workers {self.room} formats={self.formats} stopped={self._stopped}>"


class _Lane:
    """A thread that does the jobs of a fair queue, one by one."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._queue: FairQueue[tuple[Future[Any], Callable[[], Any]]] = FairQueue()
        self._lock = threading.Lock()  # of the queue: the event loop puts, the thread takes

    def put(self, tenant: str, work: Callable[[], R]) -> Future[R]:
        """The outcome of `work`, some time; cancelled before its turn it is never begun."""
        outcome: Future[R] = Future()
        with self._lock:
            self._queue.put(tenant, (outcome, work))
        self._thread.submit(self._do_next)  # one call for each job, whichever that will be
        return outcome

    def close(self) -> None:
        self._thread.shutdown(wait=False)  # the calls that wait are still made, for their jobs have waiters

    def _do_next(self) -> None:
        with self._lock:
            outcome, work = self._queue.take()
        if not outcome.set_running_or_notify_cancel():
            return
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)


def _draining() -> ProtocolError:
    return ProtocolError("draining", "This server is shutting down. Send the request again.")
