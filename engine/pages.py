"""The device's pages: how many hold each, which of them are free, and who must leave first. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from engine.prefixes import Node


class Pages:
    """Pages with reference counts: used (held), idle (held by nobody, with content) or free.

    Idle pages are taken least recently used first and leaves first; pinned ones only when no other is left.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.releases = 0  # grows whenever pages become available
        self.holders = [0] * total
        self.lives = [0] * total  # how often each page's content was given up
        self.nodes: dict[int, Node] = {}  # what is known of a page's content
        self.free = list(range(total - 1, -1, -1))
        # Whoever holds a page holds all its ancestors and lets go of them later, so descendants stand in
        # front of their ancestors in both, and taking from the front takes leaves first. Those without a node
        # were left and can be claimed, not found.
        self.idle: OrderedDict[int, Node | None] = OrderedDict()
        self.pinned: OrderedDict[int, Node | None] = OrderedDict()

        self._away = False
        self._parked: list[tuple[list[int], bool]] = []  # what was given back since `depart`

    @property
    def cached(self) -> int:
        return len(self.idle) + len(self.pinned)

    @property
    def available(self) -> int:
        return len(self.free) + self.cached

    def hold(self, page: int) -> None:
        if self.holders[page] == 0:
            self.idle.pop(page, None)
            self.pinned.pop(page, None)
        self.holders[page] += 1

    def hold_all(self, pages: Iterable[int]) -> None:
        for page in pages:
            self.hold(page)

    def drop(self, page: int, *, keep: bool = False) -> None:
        """`keep`: remember the content even if nothing is known of it."""
        self.holders[page] -= 1
        assert self.holders[page] >= 0, page
        if self.holders[page]:
            return
        self.releases += 1
        node = self.nodes.get(page)
        if node is None and not keep:
            self.lives[page] += 1
            self.free.append(page)
        elif node is not None and node.pins:
            self.pinned[page] = node
        else:
            self.idle[page] = node

    def drop_all(self, pages: list[int], keep: bool = False) -> None:
        """pages: ancestors first."""
        for page in reversed(pages):
            self.drop(page, keep=keep)

    def depart(self) -> None:
        """Until `arrive` nothing that is given back is dropped."""
        self._away = True

    def arrive(self) -> None:
        self._away = False
        # In their order: who claims what was left may find its ancestors in other pages, and lets go of them later.
        for pages, keep in self._parked:
            self.drop_all(pages, keep)
        self._parked.clear()

    def give_back(self, pages: list[int], keep: bool) -> None:
        if self._away:
            self._parked.append((pages, keep))
        else:
            self.drop_all(pages, keep)

    def oldest(self) -> tuple[int, Node | None]:
        """Take the idle page that goes first. What it held is the caller's part."""
        page, node = (self.idle or self.pinned).popitem(last=False)
        if node is None:
            self.lives[page] += 1
        return page, node

    def place(self, node: Node, page: int) -> None:
        """The page holds what the node says."""
        node.page = page
        self.nodes[page] = node

    def unplace(self, node: Node) -> None:
        """It does not any more."""
        self.lives[node.page] += 1
        del self.nodes[node.page]
        node.page = -1

    def release(self, page: int) -> None:
        """An idle page is of no use any more."""
        self.pinned.pop(page, None)
        self.idle.pop(page, None)
        self.free.append(page)

    def loosen(self, node: Node) -> None:
        """Nothing pins it any more."""
        if self.pinned.pop(node.page, None) is not None:
            self.idle[node.page] = node
