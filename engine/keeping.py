"""What was made of texts, kept for the next time that the same owner brings one of them (pure)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Keeping(Generic[K, V]):
    """At most so many values and so many bytes of their sources, for all owners together.

    Nobody finds another's, nor learns from its time that there is one. At a bound the owner with the largest share
    loses what it has not asked for the longest, so that one owner's many do not drive out another's few.
    """

    def __init__(self, max_values: int, max_bytes: int) -> None:
        self._max_values = max_values
        self._max_bytes = max_bytes
        self._values = 0
        self._of: dict[str, OrderedDict[K, tuple[V, int]]] = {}
        self._bytes_of: dict[str, int] = {}

    def get(self, owner: str, key: K) -> V | None:
        mine = self._of.get(owner)
        if mine is None or key not in mine:
            return None
        mine.move_to_end(key)
        return mine[key][0]

    def put(self, owner: str, key: K, value: V, size: int) -> None:
        """`size` of its source, in bytes. What alone is over the bound is not kept."""
        if size > self._max_bytes or self.get(owner, key) is not None:
            return
        self._of.setdefault(owner, OrderedDict())[key] = value, size
        self._bytes_of[owner] = self._bytes_of.get(owner, 0) + size
        self._values += 1
        while self._values > self._max_values or sum(self._bytes_of.values()) > self._max_bytes:
            self._drop(max(self._of, key=self._share))

    def _share(self, owner: str) -> float:
        return max(len(self._of[owner]) / self._max_values, self._bytes_of[owner] / self._max_bytes)

    def _drop(self, owner: str) -> None:
        """The oldest of an owner's."""
        mine = self._of[owner]
        _, (_, size) = mine.popitem(last=False)
        self._values -= 1
        self._bytes_of[owner] -= size
        if not mine:
            del self._of[owner], self._bytes_of[owner]

    def __repr__(self) -> str:
        return f"<Keeping values={self._values} bytes={sum(self._bytes_of.values())} owners={len(self._of)}>"
