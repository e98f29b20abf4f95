"""The replay log of live and just-ended responses: a bounded ring in memory (pure; times are arguments)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from protocol.codec import DELTA, NO_LANE, encode


class Journal(list[bytes | str]):
    """Every event of one response; the index is the `sequence_number`. An event is kept as ready JSON, a delta as its
    text alone, which the response's text is made of too: there is one for every token, and what a token leaves behind
    is memory that the next one finds cold in the processor's caches.

    A list itself, for each object on a token's way is a miss in those caches when there are hundreds of replies.
    """

    __slots__ = ("item_id",)

    def __init__(self, item_id: str) -> None:
        super().__init__()
        self.item_id = encode(item_id)  # as the deltas have it

    @property
    def text(self) -> str:
        """The deltas, joined."""
        return "".join(self.deltas(0))

    @property
    def size(self) -> int:
        return sum(map(len, self))

    def deltas(self, start: int) -> Iterator[str]:
        """The deltas from the event `start` on."""
        return (event for event in islice(self, start, None) if isinstance(event, str))

    def after(self, position: int) -> list[bytes]:
        """The JSON of the events with a sequence number above `position` (-1: all)."""
        first = position + 1
        return [
            event if isinstance(event, bytes) else DELTA % (self.item_id, encode(event), number, NO_LANE)
            for number, event in enumerate(self[first:], first)
        ]


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
