"""Responses whose write failed because the store was away: a bounded queue, read before the store."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from app.store.record import StoredResponse, encode_record


class PendingWrite(NamedTuple):
    tenant: str
    record: StoredResponse
    encoded: bytes


class PendingWrites:
    """Oldest first. Past either bound the oldest is dropped and named to the caller."""

    def __init__(self, max_records: int, max_bytes: int) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._writes: OrderedDict[tuple[str, str], PendingWrite] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._writes)

    def add(self, tenant: str, record: StoredResponse) -> list[PendingWrite]:
        """Queue a write; returns those that had to give way, this one too if it is too long by itself."""
        self.remove(tenant, record.id)
        write = PendingWrite(tenant, record, encode_record(record))
        self._writes[tenant, record.id] = write
        self.bytes += len(write.encoded)
        dropped = []
        while len(self._writes) > self._max_records or self.bytes > self._max_bytes:
            oldest = next(iter(self._writes.values()))
            self.remove(oldest.tenant, oldest.record.id)
            dropped.append(oldest)
        return dropped

    def find(self, tenant: str, response_id: str) -> StoredResponse | None:
        write = self._writes.get((tenant, response_id))
        return write.record if write else None

    def oldest(self) -> PendingWrite | None:
        return next(iter(self._writes.values()), None)

    def remove(self, tenant: str, response_id: str) -> bool:
        """Whether it was there."""
        write = self._writes.pop((tenant, response_id), None)
        if write is None:
            return False
        self.bytes -= len(write.encoded)
        return True

    def __repr__(self) -> str:
        return f"<PendingWrites records={len(self)} bytes={self.bytes}>"
