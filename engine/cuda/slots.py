"""Which row of the device's batch each sequence has, and what must be patched before the next replay. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from operator import gt, sub
from typing import Final, NamedTuple, TypeAlias

from engine.batch import Row
from engine.cuda.choice import Kind, kind_of
from engine.cuda.shaped import on_device
from engine.request import Sampling

BUCKETS: Final[tuple[int, ...]] = (1, 2, 4, *range(8, 257, 8))


@dataclass(frozen=True, slots=True)
class Join:
    """All of a row."""

    slot: int
    row: Row


@dataclass(frozen=True, slots=True)
class Move:
    """The next token of a row that stays, and where it stands: the device has another idea of it."""

    slot: int
    token: int
    position: int
    row: Row | None = None  # where it changes its logits: what it has said was taken back


class Grow(NamedTuple):
    """Pages that a row got; `first` is the place of the first of them in its table."""

    slot: int
    first: int
    pages: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Leave:
    slot: int


Patch: TypeAlias = Join | Move | Grow | Leave


@dataclass(slots=True)
class _Slot:
    pages: Sequence[int]  # the row's own list, which tells a sequence from all others
    known: int  # how many of them the device has
    sampling: Sampling
    seed: int
    kind: Kind
    plain: bool  # whether the device's token is the row's
    token: int  # as the processor knew it when the rows were last arranged: that of the next row
    position: int
    unsure: (
        tuple[int, ...] | None
    )  # a prompt's last token may join: its page can still be changed for another's


class Slots:
    """The rows of the device's batch as the processor sees them.

    The device runs ahead by `ahead` replays, whose tokens are on their way. As long as every row goes on with the token
    that came for it, they stay valid, whoever leaves; any other row means that what is on its way is dropped. It is
    computed again with the same result, so nothing but time is lost.
    """

    def __init__(self, most: int, page_tokens: int) -> None:
        """`most`: rows of the batch."""
        self.ahead = 0
        self._page_tokens = page_tokens
        self._slots: list[_Slot | None] = [None] * most
        self._buckets = [bucket for bucket in BUCKETS if bucket < most] + [most]
        self._forget()
        self._survey()

    def _forget(self) -> None:
        self.latest: list[int] = []  # the slots that are taken, in the order of the latest rows
        self._rows: list[Row] = []  # which are these,
        self._tokens: list[int] = []  # go on with these,
        self._positions: list[int] = []  # here,
        self._known: list[int] = []  # and have so many pages on the device,
        self._ends: list[int] = []  # for so many positions
        self._unsure = False  # whether some of those can still be changed
        self._reach = 0  # how many tokens behind its latest every row has pages for, at the least

    def __repr__(self) -> str:
        live = sum(slot is not None for slot in self._slots)
        return f"<Slots live={live} bucket={self.bucket} ahead={self.ahead}>"

    @property
    def buckets(self) -> list[int]:
        return list(self._buckets)

    @property
    def can_advance(self) -> bool:
        """Whether every row has a page for the token behind those that are on their way."""
        return self.ahead < self._reach

    def clear(self) -> None:
        """Forget all rows, and what is on its way."""
        self._slots = [None] * len(self._slots)
        self.ahead = 0
        self._forget()
        self._survey()

    def go_on(self, rows: Sequence[Row]) -> list[Patch] | None:
        """`arrange` where the rows are the latest ones, each with the token that came for it; None where they are not.

        Nearly all steps are like that, so whole lists are compared: at 256 rows every look at each of them counts.
        """
        if rows != self._rows:  # whether they are the same objects, as a rule
            return None
        if [row.tokens[0] for row in rows] != self._tokens or [row.start for row in rows] != self._positions:
            return None
        if self._unsure:
            return None
        known = [len(row.pages) for row in rows]
        if known == self._known:
            return []
        return self._grown(known)

    def arrange(self, rows: Sequence[Row]) -> tuple[list[int], list[Patch]]:
        """The slot of each row of the next step, and the patches in the order to apply them.

        At most as many rows as there are slots, of one token each. Where `ahead` is 0 afterwards and was not before,
        what was on its way is dropped.
        """
        patches = self.go_on(rows)
        if patches is not None:
            return self.latest, patches
        self._settle()
        places = self._keep(rows)
        patches = []
        kept = {place for place in places if place is not None}
        for n, slot in enumerate(self._slots):
            if slot is not None and n not in kept:
                self._slots[n] = None
                patches.append(Leave(n))
        homes = list(zip(places, rows, strict=True))
        in_step = all(place is not None and self._agrees(place, row) for place, row in homes)
        if self.ahead and not in_step:
            self.ahead = 0
            patches += [self._move(place, row) for place, row in homes if place is not None]
        free = (n for n, slot in enumerate(self._slots) if slot is None)
        final: list[int] = []
        for place, row in homes:
            if place is None:
                place = next(free)
                patches.append(self._join(place, row))
            else:
                if not self._agrees(place, row):
                    patches.append(self._move(place, row))
                patches += self._grow(place, row)
            final.append(place)
        self._remember(rows, final)
        self._survey()
        return final, patches

    def launched(self) -> None:
        """A replay is on its way."""
        self.ahead += 1

    def arrived(self, tokens: Sequence[int]) -> bool:
        """The oldest replay's tokens have come for the latest rows, in their order; below 0: none. Whether all have."""
        self.ahead -= 1
        whole = min(tokens) >= 0
        if whole:
            self._tokens = [*tokens]
            self._positions = [position + 1 for position in self._positions]
        else:
            both = list(zip(tokens, self._tokens, strict=True))
            self._tokens = [token if token >= 0 else before for token, before in both]
            self._positions = [
                position + (token >= 0) for token, position in zip(tokens, self._positions, strict=True)
            ]
        self._reach -= 1  # or more than that is left
        return whole

    def _settle(self) -> None:
        """Let each slot know where its row stands."""
        told = zip(self.latest, self._tokens, self._positions, self._known, strict=True)
        for place, token, position, known in told:
            slot = self._slots[place]
            assert slot is not None
            slot.token, slot.position, slot.known = token, position, known

    def _remember(self, rows: Sequence[Row], places: list[int]) -> None:
        slots = [slot for place in places if (slot := self._slots[place]) is not None]
        self.latest, self._rows = places, [*rows]
        self._tokens, self._positions = [slot.token for slot in slots], [slot.position for slot in slots]
        self._known = [slot.known for slot in slots]
        self._ends = [known * self._page_tokens for known in self._known]
        self._unsure = any(slot.unsure is not None for slot in slots)

    def _grown(self, known: list[int]) -> list[Patch]:
        """Some rows have more pages than the device knows of."""
        patches: list[Patch] = []
        for n in compress(range(len(known)), map(gt, known, self._known)):
            before, row = self._known[n], self._rows[n]
            patches.append(Grow(self.latest[n], before, tuple(row.pages[before:])))
            self._ends[n] = known[n] * self._page_tokens
        self._known = known
        self._reach = self._least_reach()
        return patches

    def _least_reach(self) -> int:
        return min(map(sub, self._ends, self._positions), default=0)

    def _survey(self) -> None:
        """See what all rows together need of the next replay."""
        live = [slot for slot in self._slots if slot is not None]
        self.bucket = self._bucket_of(max(self.latest, default=0) + 1)  # how many rows it has
        self.kind = max((slot.kind for slot in live), default=Kind.GREEDY)  # what choosing takes
        self.plain = all(slot.plain for slot in live)  # whether the device's tokens are all rows'
        self._reach = self._least_reach()

    def _keep(self, rows: Sequence[Row]) -> list[int | None]:
        """Where the rows are already. None for those that are new, and for those beyond a bucket that would do."""
        homes = {id(slot.pages): n for n, slot in enumerate(self._slots) if slot is not None}
        bound = self._bucket_of(len(rows))
        places: list[int | None] = []
        for row in rows:
            place = homes.get(id(row.pages))
            if place is not None and (place >= bound or not self._is(place, row)):
                place = None
            places.append(place)
        return places

    def _bucket_of(self, rows: int) -> int:
        return next(bucket for bucket in self._buckets if bucket >= rows)

    def _is(self, place: int, row: Row) -> bool:
        slot = self._slots[place]
        assert slot is not None
        unsure, slot.unsure = slot.unsure, None
        if unsure is not None and unsure != tuple(row.pages[: len(unsure)]):
            return False
        return slot.seed == row.seed and (slot.sampling is row.sampling or slot.sampling == row.sampling)

    def _agrees(self, place: int, row: Row) -> bool:
        slot = self._slots[place]
        assert slot is not None
        return slot.token == row.tokens[0] and slot.position == row.start

    def _join(self, place: int, row: Row) -> Join:
        pages = tuple(row.pages)
        shaped = on_device(row.shaping)
        kind = Kind.SHAPED if shaped else kind_of(row.sampling)
        plain = shaped or row.shaping is None
        self._slots[place] = _Slot(
            row.pages, len(pages), row.sampling, row.seed, kind, plain, row.tokens[0], row.start, pages
        )
        return Join(place, row)

    def _move(self, place: int, row: Row) -> Move:
        slot = self._slots[place]
        assert slot is not None
        slot.token, slot.position = row.tokens[0], row.start
        return Move(place, slot.token, slot.position, row if slot.kind is Kind.SHAPED else None)

    def _grow(self, place: int, row: Row) -> list[Patch]:
        slot = self._slots[place]
        assert slot is not None
        first, slot.known = slot.known, len(row.pages)
        return [Grow(place, first, tuple(row.pages[first:]))] if slot.known > first else []
