"""What pages contain: a tree of tokens per salt, so that a prompt finds the pages that begin as it does.

Keys are the exact tokens of a page, so a lookup compares tokens and cannot be fooled by a hash collision, and
a salt has a tree of its own, so that no lookup reaches another tenant's pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

COMPARED_SIBLINGS: Final = 16
"""How many of the latest pages behind the last full match are compared for a common beginning."""


@dataclass(slots=True, eq=False)
class Node:
    """A page whose content is known: `tokens` behind everything its ancestors hold. The root has no page.

    Only full pages have children. A page is on the device, or it is one of the host's; -1: it is not.
    """

    parent: Node | None
    tokens: tuple[int, ...]
    salt: str
    page: int = -1
    host: int = -1
    children: dict[tuple[int, ...], Node] = field(default_factory=dict)
    pins: int = 0  # how many hold it: those of `ends`, and those that end below it
    ends: dict[tuple[str, str], None] = field(
        default_factory=dict
    )  # keys of the pins whose deepest page this is

    def to_root(self) -> Iterator[Node]:
        """This page and its ancestors, deepest first, without the root."""
        node = self
        while node.parent is not None:
            yield node
            node = node.parent

    def below(self) -> Iterator[Node]:
        """This page and its descendants, ancestors first."""
        todo = [self]
        while todo:
            node = todo.pop()
            yield node
            todo.extend(node.children.values())


class PrefixTree:
    """The known pages of every salt."""

    def __init__(self, page_tokens: int) -> None:
        self.page_tokens = page_tokens
        self._roots: dict[str, Node] = {}

    def root(self, salt: str) -> Node:
        """The salt's root. It stays only while it has children."""
        return self._roots.get(salt) or Node(None, (), salt)

    def match(self, prompt: Sequence[int], limit: int, salt: str) -> list[Node]:
        """The full pages that `prompt[:limit]` begins with."""
        chain: list[Node] = []
        node = self._roots.get(salt)
        size = self.page_tokens
        while node is not None and (end := (len(chain) + 1) * size) <= limit:
            node = node.children.get(tuple(prompt[end - size : end]))
            if node is not None:
                chain.append(node)
        return chain

    def closest(self, parent: Node, wanted: Sequence[int]) -> tuple[Node | None, int]:
        """The child that shares the longest beginning with `wanted`, and how long that is."""
        best, best_shared = None, 0
        if wanted:
            for child in latest(parent):
                shared = common(child.tokens, wanted)
                if shared > best_shared:
                    best, best_shared = child, shared
        return best, best_shared

    def covering(self, parent: Node, tokens: tuple[int, ...]) -> Node | None:
        """A child that holds `tokens`, and perhaps more behind them."""
        if (same := parent.children.get(tokens)) is not None or len(tokens) == self.page_tokens:
            return same
        return next((child for child in latest(parent) if child.tokens[: len(tokens)] == tokens), None)

    def covered(self, node: Node) -> list[Node]:
        """Siblings of `node` that hold nothing that it does not hold."""
        assert node.parent is not None
        return [
            other
            for other in latest(node.parent)
            if other is not node and node.tokens[: len(other.tokens)] == other.tokens
        ]

    def add(self, parent: Node, tokens: tuple[int, ...]) -> Node:
        """Its page is for the caller to say."""
        if parent.parent is None:
            self._roots[parent.salt] = parent
        node = parent.children[tokens] = Node(parent, tokens, parent.salt)
        return node

    def remove(self, node: Node) -> None:
        parent = node.parent
        assert parent is not None
        assert not node.children, "leaves go first"
        del parent.children[node.tokens]
        if parent.parent is None and not parent.children:
            del self._roots[parent.salt]

    def __len__(self) -> int:
        """How many salts have pages."""
        return len(self._roots)


def latest(parent: Node) -> list[Node]:
    return list(islice(reversed(parent.children.values()), COMPARED_SIBLINGS))


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading items are equal."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))
