"""The connection to Redis or Valkey: every call has a time limit, every failure one name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar, cast

from redis import exceptions as faults

from app.store.address import open_client
from protocol.codes import ProtocolError

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_TIMEOUT_S = 1.0  # a loopback or rack connect takes under 10 ms; a second is a host that is gone
COMMAND_TIMEOUT_S = (
    2.0  # the slowest call, a lineage of 512 turns, takes 20 ms; nothing waits longer than this
)

# The server answered, but with "not now": what an operator repairs, not what a caller did wrong.
_NOT_NOW = (
    "MISCONF",
    "OOM",
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
    "NOREPLICAS",
    "BUSY",
    "MASTERDOWN",
    "CLUSTERDOWN",
)


class StoreUnavailable(ProtocolError):
    """The store cannot be reached or cannot serve now; `reason` is for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            "store_unavailable",
            "The store cannot be reached at the moment; try again soon.",
            retry_after_s=1.0,
        )
        self.reason = reason


class Store:
    """One Redis or Valkey, whichever kind the address names. Owned by the app, closed by it.

    It connects on first use and again after every loss, so it needs no task of its own.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        command_timeout_s: float = COMMAND_TIMEOUT_S,
    ) -> None:
        """Raises ValueError for an address of no known form."""
        self.redis, self._helping = open_client(url, connect_timeout_s, command_timeout_s)
        self._command_timeout_s = command_timeout_s
        self.fault: str | None = None  # why the last call failed; None while all is well

    @property
    def healthy(self) -> bool:
        """Whether the last call succeeded; true before the first."""
        return self.fault is None

    async def call(self, answer: Awaitable[T]) -> T:
        """Await a command's answer within the time limit: `await store.call(store.command("GET", key))`.

        Raises StoreUnavailable when the store is away or cannot serve. An answer that only a fault of ours
        explains (wrong type, script error) passes as redis' own ResponseError.
        """
        try:
            async with asyncio.timeout(self._command_timeout_s):
                result = await answer
        except (faults.RedisError, faults.RedisClusterException, OSError, TimeoutError) as error:
            if _is_our_bug(error):
                raise
            raise self._unavailable(error) from error
        if self.fault is not None:
            log.info("store recovered fault=%r", self.fault)
            self.fault = None
        return result

    async def ping(self) -> None:
        """One round trip. Raises StoreUnavailable."""
        await self.call(self.command("PING"))

    def command(self, *words: bytes | str | int) -> Awaitable[Any]:
        """A command for `call`, by its words."""
        return cast("Awaitable[Any]", self.redis.execute_command(*words))  # type: ignore[no-untyped-call]

    def eval(self, script: str, keys: Sequence[str], *arguments: bytes | str | int) -> Awaitable[Any]:
        """A Lua script for `call`. All its keys share one hash tag, so that a Cluster can run it."""
        return self.redis.eval(script, len(keys), *keys, *arguments)

    async def close(self) -> None:
        for client in (self.redis, *self._helping):
            await client.aclose()

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        if self.fault is None:
            log.warning("store unavailable reason=%r", reason)
        self.fault = reason
        return StoreUnavailable(reason)

    def __repr__(self) -> str:
        return f"<Store {'healthy' if self.healthy else self.fault}>"


def _is_our_bug(error: Exception) -> bool:
    if isinstance(error, faults.DataError):
        return True
    if not isinstance(error, faults.ResponseError):
        return False
    known = (faults.OutOfMemoryError, faults.ReadOnlyError, faults.NoPermissionError, faults.ClusterError)
    return not isinstance(error, known) and not str(error).startswith(_NOT_NOW)
