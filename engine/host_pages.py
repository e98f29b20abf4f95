"""Pages in the host's memory: the content of those that had to leave the device. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from engine.prefixes import Node


class HostPages:
    """Which of them has which node's content; the first to go is the one that came first, pinned ones after all others.

    Content leaves the device leaves first, so descendants stand in front of their ancestors in both queues.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = list(range(total - 1, -1, -1))
        self._loose: OrderedDict[int, Node] = OrderedDict()
        self._pinned: OrderedDict[int, Node] = OrderedDict()
        self._copied: dict[int, int] = {}  # by page: the last batch of moves that reads or writes it
        self._ended: set[int] = set()  # nobody's, as soon as they are copied

    @property
    def used(self) -> int:
        return self.total - len(self._free)

    def nodes(self) -> list[Node]:
        return [*self._loose.values(), *self._pinned.values()]

    def take(self) -> int | None:
        """A page that is nobody's. Give it to a node, by `put`."""
        return self._free.pop() if self._free else None

    def oldest(self) -> Node | None:
        """Who makes room next; None where nobody can."""
        queue = self._loose or self._pinned
        if not queue:
            return None
        page, node = next(iter(queue.items()))
        return None if page in self._copied else node

    def put(self, node: Node, page: int) -> None:
        node.host = page
        (self._pinned if node.pins else self._loose)[page] = node

    def remove(self, node: Node) -> None:
        """The page's content is not needed, or once it is copied not any more."""
        page, node.host = node.host, -1
        if self._loose.pop(page, None) is None:
            del self._pinned[page]
        if page in self._copied:
            self._ended.add(page)
        else:
            self._free.append(page)

    def loosen(self, node: Node) -> None:
        """Nothing pins it any more."""
        if self._pinned.pop(node.host, None) is not None:
            self._loose[node.host] = node

    def copying(self, page: int, batch: int) -> None:
        """A batch of moves reads or writes the page: until it has landed it is given to nobody."""
        self._copied[page] = batch

    def copied(self, pages: Iterable[int], batch: int) -> None:
        for page in pages:
            if self._copied.get(page) == batch:
                del self._copied[page]
                if page in self._ended:
                    self._ended.remove(page)
                    self._free.append(page)
