"""Who is served next: tenants by what they have had, then sessions in turn, then first come, first served.

Pure: times come in as arguments. Tiers go before each other strictly, but who waits for long moves up, so that
nobody waits for ever.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count
from typing import Final

from engine.sequence import RANKS, Sequence

FORGIVEN_PAST: Final = 256
"""So many tenants that are away are remembered; past it the one that owes the least is forgotten."""
URGENT_SHARE: Final = 0.25
"""Who has waited this share of its time for a first token moves up, however patient the others are."""

Sessions = dict[str, dict[str, Sequence]]  # session -> its sequences by id, both in the order of their turns


class Accounts:
    """What each tenant was served: tokens over its weight.

    Who comes (back) begins level with those who are there: nobody saves up by being away, and nobody escapes
    what it had more than the others.
    """

    def __init__(self) -> None:
        self._served: dict[str, float] = {}
        self._live: dict[str, int] = {}  # sequences that wait or run
        self._level = 0.0  # what the least served tenant had when one last came or went

    def served(self, tenant: str) -> float:
        return self._served[tenant]

    def live_of(self, tenant: str) -> int:
        return self._live.get(tenant, 0)

    def charge(self, tenant: str, weight: float, tokens: int) -> None:
        self._served[tenant] += tokens / weight

    def join(self, tenant: str) -> None:
        self._raise_level()
        if tenant not in self._live:
            self._served[tenant] = max(self._served.get(tenant, 0.0), self._level)
        self._live[tenant] = self._live.get(tenant, 0) + 1

    def leave(self, tenant: str) -> None:
        self._raise_level()
        self._live[tenant] -= 1
        if self._live[tenant]:
            return
        del self._live[tenant]
        if len(self._served) - len(self._live) > FORGIVEN_PAST:
            del self._served[min(self._served.keys() - self._live.keys(), key=self.served)]

    def _raise_level(self) -> None:
        if self._live:
            self._level = max(self._level, min(map(self.served, self._live)))


class Waiting:
    """The queue, in one lane for each tier."""

    def __init__(self, accounts: Accounts, patience_s: float) -> None:
        self._accounts = accounts
        self._patience_s = patience_s
        self._lanes: tuple[dict[str, Sessions], ...] = tuple({} for _ in set(RANKS.values()))  # by tenant
        self._sequences: dict[str, Sequence] = {}
        self._fresh: dict[str, Sequence] = {}  # not announced yet
        self._ageing: list[tuple[float, int, str]] = []  # a heap by when an id moves up; some have left
        self._serial = count()

    def __len__(self) -> int:
        return len(self._sequences)

    @property
    def fresh(self) -> bool:
        """Whether somebody has not been told its place."""
        return bool(self._fresh)

    def put(self, sequence: Sequence, *, first: bool = False) -> None:
        """Queue at the end of its session, or in front of its tenant's sessions: one that has had its turn before."""
        id, tenant = sequence.request.id, sequence.request.salt
        sessions = self._lanes[sequence.rank].setdefault(tenant, {})
        name = sequence.session
        mates = sessions.setdefault(name, {})
        if first:
            sessions[name] = {id: sequence, **mates}
            self._lanes[sequence.rank][tenant] = {name: sessions.pop(name), **sessions}
        else:
            mates[id] = sequence
        self._sequences[id] = sequence
        if not sequence.announced:
            self._fresh[id] = sequence
        self._watch(sequence)

    def heads(self) -> Iterator[Sequence]:
        """The first one of each tenant and tier, the most deserving first."""
        for lane in self._lanes:
            for tenant in sorted(lane, key=self._accounts.served):
                session = next(iter(lane[tenant].values()))
                yield next(iter(session.values()))

    def remove(self, sequence: Sequence) -> None:
        """Take it out, if it waits. Its session's others go behind the tenant's other sessions."""
        id, tenant = sequence.request.id, sequence.request.salt
        if self._sequences.pop(id, None) is None:
            return
        self._fresh.pop(id, None)
        lane = self._lanes[sequence.rank]
        mates = lane[tenant].pop(sequence.session)
        del mates[id]
        if mates:
            lane[tenant][sequence.session] = mates
        if not lane[tenant]:
            del lane[tenant]

    def age(self, now: float) -> None:
        """Move up who has waited for long."""
        while self._ageing and self._ageing[0][0] <= now:
            _, _, id = heapq.heappop(self._ageing)
            sequence = self._sequences.get(id)
            if sequence is not None and sequence.rank:
                self.remove(sequence)
                sequence.rank -= 1
                self.put(sequence)

    def announce(self) -> Iterator[tuple[Sequence, int]]:
        """Those who came since the last call, and how many wait before each, counted by arrival."""
        fresh, self._fresh = self._fresh, {}
        for place, sequence in enumerate(fresh.values(), len(self._sequences) - len(fresh)):
            sequence.announced = True
            yield sequence, place

    def _watch(self, sequence: Sequence) -> None:
        if sequence.rank:
            patience = min(
                self._patience_s, URGENT_SHARE * (sequence.first_token_deadline - sequence.submitted)
            )
            lanes_up = RANKS[sequence.request.service_tier] - sequence.rank + 1
            when = sequence.submitted + patience * lanes_up
            heapq.heappush(self._ageing, (when, next(self._serial), sequence.request.id))
