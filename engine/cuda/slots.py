"""Which row of the device's batch each sequence has, and what must be patched before the next replay. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

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


@dataclass(frozen=True, slots=True)
class Grow:
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
    token: int  # as the processor knows it: that of the next row
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
        self._latest: list[int] = []  # the slots that are taken, in the order of the latest rows
        self._reach = 0  # how many tokens behind its latest every row has pages for
        self._survey()

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
        self._latest = []
        self.ahead = 0
        self._survey()

    def arrange(self, rows: Sequence[Row]) -> tuple[list[int], list[Patch]]:
        """The slot of each row of the next step, and the patches in the order to apply them.

        At most as many rows as there are slots, of one token each. Where `ahead` is 0 afterwards and was not before,
        what was on its way is dropped.
        """
        if self._go_on(rows):
            return self._latest, []
        places = self._keep(rows)
        patches: list[Patch] = []
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
        self._latest = final
        self._survey()
        return final, patches

    def launched(self) -> None:
        """A replay is on its way."""
        self.ahead += 1

    def arrived(self, places: Sequence[int], tokens: Sequence[int]) -> None:
        """The oldest replay's tokens have come; those of `places` are handed out, below 0: none."""
        self.ahead -= 1
        for place, token in zip(places, tokens, strict=True):
            slot = self._slots[place]
            assert slot is not None
            if token >= 0:
                slot.token = token
                slot.position += 1

    def _go_on(self, rows: Sequence[Row]) -> bool:
        """Whether they are the latest rows, each where the device thinks it is. Nearly all steps are like that."""
        if len(rows) != len(self._latest):
            return False
        size = self._page_tokens
        reach: int | None = None
        for place, row in zip(self._latest, rows, strict=True):
            slot, pages = self._slots[place], row.pages
            if (
                slot is None
                or slot.pages is not pages
                or slot.token != row.tokens[0]
                or slot.position != row.start
                or slot.known != len(pages)
                or slot.unsure is not None
                or slot.sampling is not row.sampling
                or slot.seed != row.seed
            ):
                return False
            left = slot.known * size - slot.position
            if reach is None or left < reach:
                reach = left
        self._reach = reach or 0
        return True

    def _survey(self) -> None:
        """See what all rows together need of the next replay."""
        live = [slot for slot in self._slots if slot is not None]
        size = self._page_tokens
        self.bucket = self._bucket_of(max(self._latest, default=0) + 1)  # how many rows it has
        self.kind = max((slot.kind for slot in live), default=Kind.GREEDY)  # what choosing takes
        self._reach = min((slot.known * size - slot.position for slot in live), default=0)

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
        kind = Kind.SHAPED if on_device(row.shaping) else kind_of(row.sampling)
        self._slots[place] = _Slot(
            row.pages, len(pages), row.sampling, row.seed, kind, row.tokens[0], row.start, pages
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
