"""The adapters that an engine has: loaded while it serves, lent to requests, unloaded when the last of them ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from engine.adapters.adapter import Adapter, AdapterError, AdapterNameError, AdapterQueueError
from engine.request import Deliver, Finished, Output

log = logging.getLogger(__name__)

Read: TypeAlias = Callable[[str, Path, int, int], Adapter]
"""(name, folder, most bytes, unix seconds): slow, in a thread. Raises AdapterError."""
MAX_LOADS: Final = 16  # that wait for their turn


@dataclass(frozen=True, slots=True)
class AdapterLimits:
    count: int = (
        16  # a step computes what all of its rows' adapters add: some dozens cost as much as the model
    )
    # As much again where several are in one step (see Mixer). Of 8 billion parameters an adapter of rank 16 has 84 MB.
    bytes: int = 1 << 30


@dataclass(slots=True, eq=False)
class Loan:
    """A loaded adapter, and who has it."""

    adapter: Adapter
    users: int = 0  # requests that have not ended
    requests: int = 0  # that it was ever lent to


class AdapterStore:
    """Used on the event loop's thread; before that loop runs, on any one.

    `on_gone` is called when an adapter was unloaded and its last request has ended.
    """

    def __init__(
        self, read: Read, limits: AdapterLimits, on_gone: Callable[[Adapter], None] = lambda adapter: None
    ) -> None:
        self._read, self._limits, self._on_gone = read, limits, on_gone
        self._loans: dict[str, Loan] = {}  # by name, the one that was not asked for the longest first
        self._leaving: set[Loan] = set()  # unloaded, and still used
        self._loading = asyncio.Lock()
        self._waiting = 0
        self._closed = False

    def __iter__(self) -> Iterator[Loan]:
        """All that can be asked for, by name."""
        return iter(sorted(self._loans.values(), key=lambda loan: loan.adapter.name))

    def __len__(self) -> int:
        return len(self._loans)

    @property
    def bytes(self) -> int:
        """Of all of them, those too that leave."""
        return sum(loan.adapter.bytes for loan in [*self._loans.values(), *self._leaving])

    def find(self, name: str) -> Adapter | None:
        loan = self._loans.get(name)
        return None if loan is None else loan.adapter

    def load_now(self, name: str, folder: Path) -> Adapter:
        """Read it here and take it in. Raises AdapterError."""
        self._check_room(name)
        return self._take_in(self._read(name, folder, self._room, int(time.time())))

    async def load(self, name: str, folder: Path) -> Adapter:
        """As `load_now`, reading in a thread, one after the other, so that each knows the room. Raises AdapterError."""
        if self._waiting >= MAX_LOADS:
            raise AdapterQueueError(name, f"{MAX_LOADS} others wait to be loaded; try again soon")
        self._waiting += 1
        try:
            async with self._loading:
                self._check_room(name)
                now = int(time.time())
                return self._take_in(await _outlasting(self._read, name, folder, self._room, now))
        finally:
            self._waiting -= 1

    def unload(self, name: str) -> Adapter | None:
        """No request gets it any more; those that have it go on. None: there is none of that name."""
        loan = self._loans.pop(name, None)
        if loan is None:
            return None
        log.info("adapter unloaded name=%s users=%d", name, loan.users)
        if loan.users:
            self._leaving.add(loan)
        else:
            self._on_gone(loan.adapter)
        return loan.adapter

    def close(self) -> None:
        """Let go of all of them: their model is served no more. Requests that have one keep it to their end."""
        self._closed = True
        self._loans.clear()
        self._leaving.clear()

    def lend(self, adapter: Adapter, deliver: Deliver) -> Deliver:
        """A request's own `deliver`, which gives the adapter back with its last output."""
        loan = self._loans.pop(adapter.name)
        assert loan.adapter is adapter, "a request's adapter is loaded"
        self._loans[adapter.name] = loan
        loan.users += 1
        loan.requests += 1

        def lent(output: Output) -> None:
            if type(output) is Finished:
                self._give_back(loan)
            deliver(output)

        return lent

    @property
    def _room(self) -> int:
        return self._limits.bytes - self.bytes

    def _give_back(self, loan: Loan) -> None:
        loan.users -= 1
        if not loan.users and loan in self._leaving:
            self._leaving.remove(loan)
            self._on_gone(loan.adapter)

    def _check_room(self, name: str) -> None:
        self._check_open(name)
        if name in self._loans:
            raise AdapterNameError(name, "one of that name is loaded; unload it first, or take another name")
        if len(self._loans) >= self._limits.count:
            raise AdapterError(name, f"{len(self._loans)} are loaded, which is the most; {self._way_out()}")

    def _check_open(self, name: str) -> None:
        if self._closed:
            raise AdapterError(name, "its model is served no more; load that first")

    def _take_in(self, adapter: Adapter) -> Adapter:
        self._check_open(adapter.name)
        if adapter.bytes > self._room:
            raise AdapterError(
                adapter.name,
                f"it takes {adapter.bytes} bytes; {self._room} of {self._limits.bytes} are left; {self._way_out()}",
            )
        self._loans[adapter.name] = Loan(adapter)
        log.info("adapter loaded name=%s rank=%d bytes=%d", adapter.name, adapter.rank, adapter.bytes)
        return adapter

    def _way_out(self) -> str:
        idle = next((name for name, loan in self._loans.items() if not loan.users), None)
        return (
            "raise the bound"
            if idle is None
            else f"raise the bound or unload one, such as {idle!r}, which is idle"
        )

    def __repr__(self) -> str:
        return f"<AdapterStore loaded={len(self._loans)} leaving={len(self._leaving)} bytes={self.bytes}>"


async def _outlasting(read: Read, name: str, folder: Path, room: int, now: int) -> Adapter:
    """Read in a thread. A thread cannot be stopped: who is cancelled is so when it has ended, for until then it takes
    memory that the next load must not count on."""
    reading = asyncio.ensure_future(asyncio.to_thread(read, name, folder, room, now))
    cancelled: asyncio.CancelledError | None = None
    while not reading.done():
        try:
            await asyncio.wait([reading])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        reading.exception()  # nobody waits for what it found
        raise cancelled
    return reading.result()
