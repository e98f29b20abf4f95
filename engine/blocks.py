"""Pages of keys and values: who holds which, and which of them a prompt can use again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.pins import Key, Pins
from engine.prefixes import Node, PrefixTree


@dataclass(slots=True, eq=False)
class Lease:
    """The pages of one sequence, in order of position. Change it through its pool only."""

    salt: str
    pages: list[int]
    known: int  # the leading pages that are in the tree
    _node: Node | None  # the last of them

    def __repr__(self) -> str:
        return f"<Lease pages={len(self.pages)} known={self.known}>"


@dataclass(frozen=True, slots=True)
class Opened:
    lease: Lease
    cached_tokens: int  # leading positions that need not be computed
    copy: tuple[int, int] | None  # (source, target): copy this page before anything of the step is written


@dataclass(frozen=True, slots=True)
class Left:
    """Pages that were given back with their content, and which life each was in: a later one has other content."""

    salt: str
    pages: tuple[int, ...]
    lives: tuple[int, ...]


class BlockPool:
    """A fixed number of pages with reference counts.

    A page is used (held by leases), idle (held by nobody, free to take, but with content that somebody may come
    back to) or free. Idle pages are evicted least recently used first and leaves first; pinned ones only when
    no other is left.
    """

    def __init__(self, pages_total: int, page_tokens: int) -> None:
        if pages_total < 1 or page_tokens < 1:
            raise ValueError("a pool needs at least one page of at least one token")
        self.pages_total = pages_total
        self.page_tokens = page_tokens
        self.releases = 0  # grows whenever pages become available
        self.evictions = 0
        self._away = False
        self._parked: list[
            tuple[list[int], bool]
        ] = []  # pages of leases that were closed or left since `depart`
        self._tree = PrefixTree(page_tokens)
        self._pins = Pins(pages_total)
        self._free = list(range(pages_total - 1, -1, -1))
        self._holders = [0] * pages_total
        self._lives = [0] * pages_total  # how often each page's content was given up
        self._nodes: dict[int, Node] = {}  # by page
        # Whoever holds a page holds all its ancestors and lets go of them later, so descendants stand in
        # front of their ancestors in both, and taking from the front takes leaves first. Those without a node
        # were left and can be claimed, not found.
        self._idle: OrderedDict[int, Node | None] = OrderedDict()
        self._pinned: OrderedDict[int, Node | None] = OrderedDict()

    @property
    def available(self) -> int:
        return len(self._free) + self.cached

    @property
    def used(self) -> int:
        return self.pages_total - self.available

    @property
    def cached(self) -> int:
        return len(self._idle) + len(self._pinned)

    @property
    def pinned(self) -> int:
        return len(self._pinned)

    def pages_for(self, tokens: int) -> int:
        return -(-tokens // self.page_tokens)

    def open(self, prompt: Sequence[int], total_tokens: int, salt: str, *, spare: int = 0) -> Opened | None:
        """Pages for `total_tokens` positions that begin with `prompt`, as many as possible already computed.

        At least the last position is left to compute. None, and nothing changed, if the pages are not there
        or fewer than `spare` would remain.
        """
        limit = min(len(prompt), total_tokens - 1)
        chain = self._tree.match(prompt, limit, salt)
        start = len(chain) * self.page_tokens
        parent = chain[-1] if chain else self._tree.root(salt)
        source, shared = self._tree.closest(
            parent, tuple(prompt[start : min(limit, start + self.page_tokens)])
        )
        for node in chain:
            self._hold(node.page)
        if source is not None:
            self._hold(source.page)  # so that taking pages does not evict it
        missing = self.pages_for(total_tokens) - len(chain)
        if source is not None and missing + spare > self.available:
            self._drop(source.page)
            source, shared = None, 0
        if missing + spare > self.available:
            for node in reversed(chain):
                self._drop(node.page)
            return None
        lease = Lease(salt, [node.page for node in chain], len(chain), chain[-1] if chain else None)
        lease.pages.extend([self._take() for _ in range(missing)])
        copy = None
        if source is not None:
            copy = (source.page, lease.pages[len(chain)])
            self._drop(source.page)
        return Opened(lease, start + shared, copy)

    def grow(self, lease: Lease, total_tokens: int) -> bool:
        """Add pages to cover `total_tokens` positions; False, and nothing changed, if they lack."""
        missing = self.pages_for(total_tokens) - len(lease.pages)
        if missing > self.available:
            return False
        lease.pages.extend([self._take() for _ in range(missing)])
        return True

    def enter(self, lease: Lease, ids: Sequence[int], computed: int) -> None:
        """Make full pages of `ids` known, up to `computed` positions that have been written."""
        size = self.page_tokens
        while (end := (lease.known + 1) * size) <= min(computed, len(ids)):
            self._enter(lease, tuple(ids[end - size : end]))

    def enter_all(self, lease: Lease, ids: Sequence[int]) -> None:
        """Make all of the written `ids` known, the partial last page too: nothing may be written to it any more."""
        self.enter(lease, ids, len(ids))
        if tail := tuple(ids[lease.known * self.page_tokens :]):
            self._enter(lease, tail)

    def pin(self, lease: Lease, key: Key, until: float) -> None:
        """Keep the known pages of the lease until then or memory pressure, instead of what `key` kept before.

        Calls come with times that do not fall.
        """
        if lease._node is not None:
            self._loosen(self._pins.put(key, lease._node, until))

    def unpin(self, key: Key) -> None:
        self._loosen(self._pins.end(key))

    def expire(self, now: float) -> None:
        """End the pins whose time has come; their pages stay known."""
        self._loosen(self._pins.expire(now))

    def depart(self) -> None:
        """A step is being computed and may still write to all that is held: until `arrive` nothing is given back."""
        self._away = True

    def arrive(self) -> None:
        self._away = False
        while self._parked:
            self._drop_all(*self._parked.pop())

    def close(self, lease: Lease) -> None:
        """Give back all pages of the lease."""
        self._give_back(lease, keep=False)

    def leave(self, lease: Lease) -> Left:
        """Give back all pages of the lease, but remember the content of those that are not known, for `claim`."""
        left = Left(lease.salt, tuple(lease.pages), tuple(self._lives[page] for page in lease.pages))
        self._give_back(lease, keep=True)
        return left

    def claim(self, left: Left) -> Lease:
        """The first of the pages that were left, as far as nobody has taken them since."""
        lease = Lease(left.salt, [], 0, None)
        for page, life in zip(left.pages, left.lives, strict=True):
            if self._lives[page] != life:
                break
            self._hold(page)
            lease.pages.append(page)
            if (node := self._nodes.get(page)) is not None:
                lease.known, lease._node = lease.known + 1, node
        return lease

    def _give_back(self, lease: Lease, *, keep: bool) -> None:
        if self._away:
            self._parked.append((lease.pages, keep))
        else:
            self._drop_all(lease.pages, keep)
        lease.pages = []
        lease._node = None
        lease.known = 0

    def _drop_all(self, pages: list[int], keep: bool) -> None:
        for page in reversed(pages):
            self._drop(page, keep=keep)

    def _enter(self, lease: Lease, tokens: tuple[int, ...]) -> None:
        parent = lease._node or self._tree.root(lease.salt)
        page = lease.pages[lease.known]
        node = self._tree.covering(parent, tokens)
        if node is None:
            node = self._nodes[page] = self._tree.add(parent, tokens, page)
            self._supersede(node)
        elif node.page != page:
            # Someone else computed the same page meanwhile: share theirs, so that the holder of a page always
            # holds its ancestors, and give ours back.
            self._hold(node.page)
            lease.pages[lease.known] = node.page
            self._drop(page)
        lease._node = node
        lease.known += 1

    def _supersede(self, node: Node) -> None:
        """Free the partial pages beside it that hold a part of what it holds: a draft leaves one at each key."""
        for other in self._tree.covered(node):
            if not self._holders[other.page]:
                self._pinned.pop(other.page, None)
                self._idle.pop(other.page, None)
                self._forget(other, heir=node)
                self._free.append(other.page)

    def _loosen(self, nodes: Iterable[Node]) -> None:
        """Nothing pins these any more."""
        for node in nodes:
            if self._pinned.pop(node.page, None) is not None:
                self._idle[node.page] = node

    def _hold(self, page: int) -> None:
        if self._holders[page] == 0:
            self._idle.pop(page, None)
            self._pinned.pop(page, None)
        self._holders[page] += 1

    def _drop(self, page: int, *, keep: bool = False) -> None:
        self._holders[page] -= 1
        assert self._holders[page] >= 0, page
        if self._holders[page]:
            return
        self.releases += 1
        node = self._nodes.get(page)
        if node is None and not keep:
            self._lives[page] += 1
            self._free.append(page)
        elif node is not None and node.pins:
            self._pinned[page] = node
        else:
            self._idle[page] = node

    def _take(self) -> int:
        if self._free:
            page = self._free.pop()
        else:
            page, node = (self._idle or self._pinned).popitem(last=False)
            self.evictions += 1
            if node is None:
                self._lives[page] += 1
            else:
                assert node.parent is not None
                self._forget(node, node.parent)
        self._holders[page] = 1
        return page

    def _forget(self, node: Node, heir: Node) -> None:
        """A page's content is given up; its pins go to `heir`."""
        self._pins.move(node, heir)
        self._lives[node.page] += 1
        del self._nodes[node.page]
        self._tree.remove(node)

    def __repr__(self) -> str:
        return f"<BlockPool used={self.used} cached={self.cached} total={self.pages_total}>"
