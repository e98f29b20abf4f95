"""Where the texts of requests end among the known pages, so that one of them can be erased."""

from __future__ import annotations

from collections.abc import Callable

from engine.lease import Lease
from engine.pages import Pages
from engine.prefixes import Node


class Texts:
    """At most `bound`, each by its name; past it the oldest is not known any more."""

    def __init__(self, pages: Pages, forget: Callable[[Node, Node], None], bound: int) -> None:
        """forget: gives up a page's content, and leaves what ended there to the page above it."""
        self._pages = pages
        self._forget = forget
        self._bound = bound
        self._ends: dict[str, Node] = {}
        self._pending: dict[str, None] = {}  # to be erased, but computed with

    def __len__(self) -> int:
        return len(self._ends)

    def ended(self, lease: Lease) -> None:
        """The lease is given back: its text goes as far as what it entered. What it only found is others'."""
        if lease.name and lease._within and lease._node is not None:
            self._put(lease.name, lease._node, lease._within)

    def erase(self, name: str) -> None:
        """Give up what this text has in pages, and what goes on from it, but not what other texts have too.

        Pages that somebody computes with follow when these are given back (`erase_rest`).
        """
        self._pending.pop(name, None)
        if (node := self._ends.get(name)) is None:
            return
        above, lost = node.parent, list(node.below())
        names = [text for one in lost for text in one.texts]
        if sum(map(self._erased, reversed(lost))) < len(lost):
            self._pending[name] = None
            return
        for text in names:  # which ended in what is gone, and now end above it
            self._drop(text)
        while (
            above is not None and above.parent is not None and len(above.tokens) not in above.texts.values()
        ):
            node, above = above, above.parent
            if not self._erased(node):
                return

    def erase_rest(self) -> None:
        for name in list(self._pending):
            self.erase(name)

    def move(self, node: Node, to: Node) -> None:
        """`node` goes away: what ends there does at `to` instead, its parent or a sibling that holds the same."""
        for name, tokens in list(node.texts.items()):
            self._drop(name)
            if to.parent is not None:
                self._put(name, to, len(to.tokens) if to is node.parent else tokens)

    def _put(self, name: str, node: Node, tokens: int) -> None:
        self._drop(name)
        self._ends[name] = node
        node.texts[name] = tokens
        if len(self._ends) > self._bound:
            self._drop(next(iter(self._ends)))

    def _drop(self, name: str) -> None:
        if (node := self._ends.pop(name, None)) is not None:
            del node.texts[name]

    def _erased(self, node: Node) -> bool:
        """Give the page up, if nobody holds it and nothing is below it."""
        if node.children or (node.page >= 0 and self._pages.holders[node.page]):
            return False
        assert node.parent is not None
        if node.page >= 0:
            self._pages.release(node.page)
        self._forget(node, node.parent)
        return True
