"""Stored responses in Redis: a tree by `previous_response_id`, one hash each, the tenant in every key."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Final

from redis.exceptions import RedisError, ResponseError

from app.principal import check_tenant
from app.store.client import Store, StoreUnavailable
from app.store.pending import PendingWrites
from app.store.record import Lineage, StoredResponse, decode_record, encode_record

log = logging.getLogger(__name__)

RETRY_S = 0.25  # how soon pending writes are tried again; a restarted store is served within a second
SCRUB_S = 60.0  # how often at most the append-only file is rewritten; each rewrite forks the store
ANSWER_BYTES: Final = 4 << 20  # of one read of a lineage; such a read takes some 10 ms
LINEAGE_BYTES: Final = 16 << 20  # of a whole lineage; 131,072 tokens of context are 1 MiB of text and ids
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")

# Both fields at once, so that a record never lives without its time to live.
_PUT: Final = """
redis.call('HSET', KEYS[1], 'record', ARGV[1], 'parent', ARGV[2])
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
"""

# From a response up to its root in one round trip, or in several if it is long: an answer of more than ARGV[4]
# bytes would hold up the store's other callers. Each record read lives on. Every key of a tenant has the
# same hash tag, so the keys that the script computes stand in the slot of the one it was given.
_WALK: Final = """
local key, records, size = KEYS[1], {}, 0
for turn = 1, tonumber(ARGV[3]) do
  local found = redis.call('HMGET', key, 'record', 'parent')
  if not found[1] then break end
  redis.call('PEXPIRE', key, ARGV[2])
  records[turn] = found[1]
  size = size + #found[1]
  if found[2] == '' or size >= tonumber(ARGV[4]) then break end
  key = ARGV[1] .. found[2]
end
return records
"""


class ResponseStores:
    """What all tenants' stores share: the connection, the time to live, the writes that wait for the store.

    `run` is a task of the app's TaskGroup. `scrub` asks the store to rewrite its append-only file after
    deletions, so that the deleted text leaves the disk too; for a store of our own, others' is their
    operator's to compact.
    """

    def __init__(
        self,
        store: Store,
        *,
        ttl_s: float,
        max_turns: int,
        pending_writes: int,
        pending_bytes: int,
        scrub: bool = False,
    ) -> None:
        self.store = store
        self.ttl_ms = int(ttl_s * 1000)
        self.max_turns = max_turns
        self.pending = PendingWrites(pending_writes, pending_bytes)
        # Held while a pending write is under way, so that a deletion cannot fall between its reading and its
        # writing.
        self.flushing = asyncio.Lock()
        self._waiting = asyncio.Event()
        self._deleted = asyncio.Event()
        self._scrub = scrub

    def of(self, tenant: str) -> ResponseStore:
        return ResponseStore(self, tenant)

    def postpone(self, tenant: str, record: StoredResponse) -> None:
        """Keep a record that could not be written until the store is back."""
        for lost in self.pending.add(tenant, record):
            log.error("pending write dropped response=%s pending=%d", lost.record.id, len(self.pending))
        self._waiting.set()

    def note_deletion(self) -> None:
        self._deleted.set()

    async def run(self) -> None:
        """Write what waits as soon as the store is back. Ends by cancellation only."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write_pending())
            if self._scrub:
                tasks.create_task(self._rewrite_after_deletions())

    async def flush(self) -> None:
        """Write everything that waits. Raises StoreUnavailable."""
        while await self._flush_oldest():
            pass

    async def close(self) -> None:
        """A last try to write what waits; what cannot be written is named in the log."""
        try:
            await self.flush()
        except StoreUnavailable:
            while (lost := self.pending.oldest()) is not None:
                log.error("pending write lost at shutdown response=%s", lost.record.id)
                self.pending.remove(lost.tenant, lost.record.id)

    async def _write_pending(self) -> None:
        while True:
            await self._waiting.wait()
            self._waiting.clear()
            try:
                await self.flush()
            except StoreUnavailable:
                await asyncio.sleep(RETRY_S)
                self._waiting.set()

    async def _flush_oldest(self) -> bool:
        async with self.flushing:
            write = self.pending.oldest()
            if write is None:
                return False
            key = _key(write.tenant, write.record.id)
            parent = write.record.parent_id or ""
            try:
                await self.store.call(self.store.eval(_PUT, [key], write.encoded, parent, self.ttl_ms))
            except RedisError as error:  # ours alone: trying again would fail for ever and hold up the rest
                log.error("pending write refused response=%s reason=%r", write.record.id, str(error))
            # While the write was under way a newer record of the same id may have come; it must not be lost.
            if self.pending.find(write.tenant, write.record.id) is write.record:
                self.pending.remove(write.tenant, write.record.id)
            return True

    async def _rewrite_after_deletions(self) -> None:
        while True:
            await self._deleted.wait()
            self._deleted.clear()
            try:
                await self.store.call(self.store.command("BGREWRITEAOF"))
            except (StoreUnavailable, ResponseError) as error:  # ResponseError: one is under way already
                log.warning("append-only file not rewritten reason=%r", str(error))
                self._deleted.set()
            await asyncio.sleep(SCRUB_S)


class ResponseStore:
    """One tenant's responses. A foreign id and a missing one get the same answer."""

    def __init__(self, shared: ResponseStores, tenant: str) -> None:
        """Raises ValueError for a tenant that is not 1-64 letters, digits, `_` and `-`."""
        check_tenant(tenant)
        self.tenant = tenant
        self._shared = shared

    async def put(self, record: StoredResponse) -> bool:
        """Write a response; false if the store is away, and the record waits in memory until it is back."""
        assert _ID.fullmatch(record.id), record.id
        shared = self._shared
        encoded = encode_record(record)
        try:
            await shared.store.call(
                shared.store.eval(
                    _PUT, [self._key(record.id)], encoded, record.parent_id or "", shared.ttl_ms
                )
            )
        except StoreUnavailable:
            shared.postpone(self.tenant, record)
            return False
        return True

    async def get(self, response_id: str) -> StoredResponse | None:
        """Raises StoreUnavailable."""
        if not _ID.fullmatch(response_id):
            return None
        waiting = self._shared.pending.find(self.tenant, response_id)
        if waiting is not None:
            return waiting
        store = self._shared.store
        data = await store.call(store.command("HGET", self._key(response_id), "record"))
        return None if data is None else decode_record(data)

    async def lineage(self, response_id: str) -> Lineage:
        """The response and its ancestors, usually in one round trip; their time to live begins anew.

        Raises StoreUnavailable.
        """
        youngest_first: list[StoredResponse] = []
        next_id: str | None = response_id
        room = self._shared.max_turns
        size = 0
        while next_id is not None and len(youngest_first) < room and size < LINEAGE_BYTES:
            # A chain can cross between what waits in memory and what is written, either way, more than once.
            waiting = self._shared.pending.find(self.tenant, next_id)
            found = [waiting] if waiting else await self._walk(next_id, room - len(youngest_first))
            if not found:
                return Lineage(tuple(reversed(youngest_first)), missing=next_id)
            youngest_first += found
            size += sum(record.size for record in found)
            next_id = found[-1].parent_id
        return Lineage(tuple(reversed(youngest_first)), cut=next_id is not None)

    async def delete(self, response_id: str) -> bool:
        """Delete a response everywhere; whether it was there. Its descendants can no longer be continued.

        Raises StoreUnavailable, and then the response may still be there.
        """
        if not _ID.fullmatch(response_id):
            return False
        shared = self._shared
        async with shared.flushing:
            waited = shared.pending.remove(self.tenant, response_id)
            deleted = await shared.store.call(shared.store.command("DEL", self._key(response_id)))
        shared.note_deletion()
        return waited or bool(deleted)

    async def _walk(self, response_id: str, most: int) -> list[StoredResponse]:
        if not _ID.fullmatch(response_id):
            return []
        shared = self._shared
        prefix = _key(self.tenant, "")
        found: list[bytes] = await shared.store.call(
            shared.store.eval(_WALK, [self._key(response_id)], prefix, shared.ttl_ms, most, ANSWER_BYTES)
        )
        return [decode_record(data) for data in found]

    def _key(self, response_id: str) -> str:
        return _key(self.tenant, response_id)

    def __repr__(self) -> str:
        return f"<ResponseStore {self.tenant} pending={len(self._shared.pending)}>"


def _key(tenant: str, response_id: str) -> str:
    return f"sluice:{{{tenant}}}:response:{response_id}"
