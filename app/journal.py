"""The replay log of live and just-ended responses: a bounded ring in memory (pure; times are arguments)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field


class Journal(list[bytes]):
    """Every event of one response, as ready JSON; the index is the `sequence_number`.

    A list itself, for it is appended to for every token: with thousands of replies each object on a token's way is a
    miss in the processor's caches.
    """

    __slots__ = ()

    @property
    def size(self) -> int:
        return sum(map(len, self))

    def after(self, position: int) -> list[bytes]:
        """The events with a sequence number above `position` (-1: all)."""
        return self[position + 1 :]


@dataclass(slots=True)
class _Ended:
    tenant: str
    journal: Journal
    bytes: int
    ended_at: float


@dataclass(slots=True)
class Ring:
    """Journals of ended responses, oldest out first, bounded in bytes and age."""

    max_bytes: int
    max_age_s: float
    bytes: int = 0
    _ended: OrderedDict[str, _Ended] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._ended)

    def add(self, response_id: str, tenant: str, journal: Journal, now: float) -> None:
        self._ended[response_id] = _Ended(tenant, journal, journal.size, now)
        self.bytes += self._ended[response_id].bytes
        self.expire(now)
        while self.bytes > self.max_bytes:
            self._drop(next(iter(self._ended)))

    def get(self, response_id: str, tenant: str, now: float) -> Journal | None:
        """The journal, or None where it has gone, never was, or belongs to another tenant."""
        self.expire(now)
        entry = self._ended.get(response_id)
        return entry.journal if entry is not None and entry.tenant == tenant else None

    def discard(self, response_id: str) -> None:
        if response_id in self._ended:
            self._drop(response_id)

    def expire(self, now: float) -> None:
        while self._ended:
            oldest = next(iter(self._ended))
            if now - self._ended[oldest].ended_at <= self.max_age_s:
                return
            self._drop(oldest)

    def _drop(self, response_id: str) -> None:
        self.bytes -= self._ended.pop(response_id).bytes
