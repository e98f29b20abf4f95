"""Contexts that are to stay for a while: each key pins one chain of pages, until its time ends."""

from __future__ import annotations

from typing import TypeAlias

from engine.prefixes import Node

Key: TypeAlias = tuple[str, str]
"""A salt and a name of its own."""


class Pins:
    """At most `bound` pins; past it the one that ends first is ended.

    Methods return the pages that nothing pins any more, ancestors behind their descendants.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._pins: dict[Key, tuple[float, Node]] = {}  # first to end first

    def __len__(self) -> int:
        return len(self._pins)

    def put(self, key: Key, node: Node, until: float) -> list[Node]:
        """Pin `node` and its ancestors instead of what `key` pinned before. `until` must not fall from call to call."""
        for above in node.to_root():
            above.pins += 1
        loose = self.end(key)
        self._pins[key] = (until, node)
        node.ends[key] = None
        if len(self._pins) > self._bound:
            loose += self.end(next(iter(self._pins)))
        return loose

    def end(self, key: Key) -> list[Node]:
        if (pin := self._pins.pop(key, None)) is None:
            return []
        node = pin[1]
        del node.ends[key]
        loose = []
        for above in node.to_root():
            above.pins -= 1
            if not above.pins:
                loose.append(above)
        return loose

    def expire(self, now: float) -> list[Node]:
        loose: list[Node] = []
        while self._pins:
            key, (until, _) = next(iter(self._pins.items()))
            if until > now:
                break
            loose += self.end(key)
        return loose

    def move(self, node: Node, to: Node) -> None:
        """`node` goes away: its pins end at `to` instead, its parent or a sibling. At the root they end."""
        for key in node.ends:
            until, _ = self._pins[key]
            if to.parent is None:
                del self._pins[key]
            else:
                self._pins[key] = (until, to)
                to.ends[key] = None
        if to is not node.parent:
            to.pins += node.pins
        node.pins = 0
        node.ends = {}
