"""Pages of keys and values: who holds which, and which of them a prompt can use again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.host_pages import HostPages
from engine.lease import Lease, Left, Opened
from engine.moves import Moves
from engine.pages import Pages
from engine.pins import Key, Pins
from engine.prefixes import Node, PrefixTree
from engine.transit import Transit


class BlockPool:
    """A fixed number of pages with reference counts.

    A page is used (held by leases), idle (held by nobody, free to take, but with content that somebody may come
    back to) or free. Idle pages are evicted least recently used first and leaves first; pinned ones only when
    no other is left. Where the host has pages their content moves there, and comes back with a prompt that finds it:
    `take_moves` says what to copy. The ancestors of a page on the device are on the device.
    """

    def __init__(self, pages_total: int, page_tokens: int, host_pages: int = 0) -> None:
        if pages_total < 1 or page_tokens < 1:
            raise ValueError("a pool needs at least one page of at least one token")
        self.pages_total = pages_total
        self.page_tokens = page_tokens
        self.evictions = 0  # of content that is nowhere any more
        self.moved_out = self.moved_back = 0
        self.host = HostPages(host_pages)
        self._pages = Pages(pages_total)
        self._transit = Transit(self._pages)
        self._tree = PrefixTree(page_tokens)
        self._pins = Pins(pages_total + host_pages)

    @property
    def available(self) -> int:
        return self._pages.available

    @property
    def used(self) -> int:
        return self.pages_total - self.available

    @property
    def cached(self) -> int:
        return self._pages.cached

    @property
    def pinned(self) -> int:
        return len(self._pages.pinned)

    @property
    def releases(self) -> int:
        """Grows whenever pages become available."""
        return self._pages.releases

    def pages_for(self, tokens: int) -> int:
        return -(-tokens // self.page_tokens)

    def open(self, prompt: Sequence[int], total_tokens: int, salt: str, *, spare: int = 0) -> Opened | None:
        """Pages for `total_tokens` positions that begin with `prompt`, as many as possible already computed.

        At least the last position is left to compute. None, and nothing changed, if the pages are not there
        or fewer than `spare` would remain.
        """
        limit = min(len(prompt), total_tokens - 1)
        chain = self._tree.match(prompt, limit, salt)
        here = [node.page for node in chain if node.page >= 0]  # in front of those that the host has
        missing = self.pages_for(total_tokens) - len(here) + spare
        self._pages.hold_all(here)
        if missing > self.available:
            self._pages.drop_all(here)
            return None
        start, away = len(chain) * self.page_tokens, chain[len(here) :]
        parent = chain[-1] if chain else self._tree.root(salt)
        tail, shared = self._closest(parent, tuple(prompt[start : min(limit, start + self.page_tokens)]))
        source = None
        if tail is not None and tail.page < 0:
            away.append(tail)
        elif tail is not None:
            self._pages.hold(tail.page)  # so that taking pages does not evict it
            source = tail.page
            if missing > self.available:
                self._pages.drop(source)
                source, shared = None, 0
        lease = Lease(salt, here, len(chain), chain[-1] if chain else None)
        moved = len(self._transit.planned.moves.out)
        self._bring(lease, away)
        if tail in away:
            self._forget(tail, parent)  # its content is the lease's now
        lease.pages.extend([self._take() for _ in range(self.pages_for(total_tokens) - len(lease.pages))])
        copy = None if source is None else (source, lease.pages[len(chain)])
        batch, copy = self._transit.join(lease.pages, copy, moved)
        if source is not None:
            self._pages.drop(source)
        return Opened(lease, start + shared, copy, batch)

    def grow(self, lease: Lease, total_tokens: int) -> bool:
        """Add pages to cover `total_tokens` positions; False, and nothing changed, if they lack."""
        missing = self.pages_for(total_tokens) - len(lease.pages)
        if missing > self.available:
            return False
        lease.pages.extend([self._take(at_once=True) for _ in range(missing)])
        return True

    def enter(self, lease: Lease, ids: Sequence[int], computed: int) -> None:
        """Make full pages of `ids` known, up to `computed` positions that have been written."""
        size, written = self.page_tokens, min(computed, len(ids))
        while (end := (lease.known + 1) * size) <= written:
            if not self._enter(lease, tuple(ids[end - size : end])):
                return

    def enter_all(self, lease: Lease, ids: Sequence[int]) -> None:
        """Make all of the written `ids` known, the partial last page too: nothing may be written to it any more."""
        self.enter(lease, ids, len(ids))
        tail = tuple(ids[lease.known * self.page_tokens :])
        if 0 < len(tail) < self.page_tokens:
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
        self._pages.depart()

    def arrive(self) -> None:
        self._pages.arrive()

    def take_moves(self) -> Moves:
        """What to copy for all that was opened and grown since the last call; to be sent before the step."""
        return self._transit.take()

    def waits(self, batch: int) -> bool:
        """Whether this batch of moves is still on its way."""
        return batch > self._transit.landed

    def land(self, batch: int) -> None:
        """All batches up to this one have ended."""
        for landed in self._transit.land(batch):
            self.host.copied(landed.hosts, landed.number)

    def lose_moves(self) -> None:
        """Moves have failed, and none is on its way any more: what the host has cannot be trusted.

        Nobody may hold a page that should have come.
        """
        coming = [self._pages.nodes[page] for page in self._transit.arriving if page in self._pages.nodes]
        for node in [*coming, *self.host.nodes()]:
            if node.page >= 0 or node.host >= 0:  # not gone with another one
                self._uproot(node)
        self.land(self._transit.planned.number - 1)

    def close(self, lease: Lease) -> None:
        """Give back all pages of the lease."""
        self._give_back(lease, keep=False)

    def leave(self, lease: Lease) -> Left:
        """Give back all pages of the lease, but remember the content of those that are not known, for `claim`."""
        left = Left(lease.salt, tuple(lease.pages), tuple(self._pages.lives[page] for page in lease.pages))
        self._give_back(lease, keep=True)
        return left

    def claim(self, left: Left) -> Lease:
        """The first of the pages that were left, as far as nobody has taken them since."""
        lease = Lease(left.salt, [], 0, None)
        for page, life in zip(left.pages, left.lives, strict=True):
            if self._pages.lives[page] != life:
                break
            self._pages.hold(page)
            lease.pages.append(page)
            if (node := self._pages.nodes.get(page)) is not None:
                lease.known, lease._node = lease.known + 1, node
        return lease

    def _closest(self, parent: Node, wanted: tuple[int, ...]) -> tuple[Node | None, int]:
        """As `PrefixTree.closest`. What the host has is moved, not copied, so it must be of use to the end."""
        node, shared = self._tree.closest(parent, wanted)
        useless = node is not None and node.page < 0 and shared < len(node.tokens)
        return (None, 0) if useless else (node, shared)

    def _give_back(self, lease: Lease, *, keep: bool) -> None:
        self._pages.give_back(lease.pages, keep)
        lease.pages, lease.known, lease._node = [], 0, None

    def _enter(self, lease: Lease, tokens: tuple[int, ...]) -> bool:
        """Make the next page known; False, and nothing changed, while the same is on its way from the host."""
        parent = lease._node or self._tree.root(lease.salt)
        page = lease.pages[lease.known]
        node = self._tree.covering(parent, tokens)
        if node is not None and node.page < 0 and node.tokens == tokens:
            self.host.remove(node)  # this page holds the same
            self._pages.place(node, page)
        elif node is None or node.page < 0:
            node = self._tree.add(parent, tokens)
            self._pages.place(node, page)
            self._supersede(node)
        elif node.page != page:
            if node.page in self._transit.arriving:
                return False
            # Someone else computed the same page meanwhile: share theirs, so that the holder of a page always
            # holds its ancestors, and give ours back.
            self._pages.hold(node.page)
            lease.pages[lease.known] = node.page
            self._pages.drop(page)
        lease._node = node
        lease.known += 1
        return True

    def _supersede(self, node: Node) -> None:
        """Free the partial pages beside it that hold a part of what it holds: a draft leaves one at each key."""
        for other in self._tree.covered(node):
            if other.page < 0:
                self._forget(other, heir=node)
            elif not self._pages.holders[other.page]:
                self._pages.release(other.page)
                self._forget(other, heir=node)

    def _loosen(self, nodes: Iterable[Node]) -> None:
        """Nothing pins these any more."""
        for node in nodes:
            self._pages.loosen(node)
            self.host.loosen(node)

    def _take(self, *, at_once: bool = False) -> int:
        """`at_once`: what it holds has to leave before the step."""
        if self._pages.free:
            page = self._pages.free.pop()
        else:
            page, node = self._pages.oldest()
            if node is not None:
                self._evict(node, at_once)
            else:
                self.evictions += 1
        self._pages.hold(page)
        return page

    def _evict(self, node: Node, at_once: bool) -> None:
        """Its content moves to the host's memory, if there is room for it: none of its descendants is on the device."""
        host, page = self._host_page(), node.page
        if host is None:
            self._uproot(node)
            return
        self._transit.leave(page, host, at_once)
        if not at_once:
            self.host.copying(host, self._transit.planned.number)
        self._pages.unplace(node)
        self.host.put(node, host)
        self.moved_out += 1

    def _host_page(self) -> int | None:
        if (page := self.host.take()) is None and (oldest := self.host.oldest()) is not None:
            self._uproot(oldest)
            page = self.host.take()
        return page

    def _bring(self, lease: Lease, nodes: Sequence[Node]) -> None:
        """Pages for what the host has of a prompt, behind those that the lease holds."""
        hosts = [node.host for node in nodes]
        for node in nodes:  # before pages are taken, for which the host may give up others
            self.host.copying(node.host, self._transit.planned.number)
            self.host.remove(node)
        for node, host in zip(nodes, hosts, strict=True):
            self._pages.place(node, self._take())
            lease.pages.append(node.page)
            self._transit.bring(host, node.page)
        self.moved_back += len(nodes)

    def _uproot(self, node: Node) -> None:
        """Give up the content of a page and of all that goes on from it."""
        for lost in reversed(list(node.below())):
            assert lost.parent is not None
            self.evictions += 1
            self._forget(lost, lost.parent)

    def _forget(self, node: Node, heir: Node) -> None:
        """A page's content is given up; its pins go to `heir`."""
        self._pins.move(node, heir)
        if node.page < 0:
            self.host.remove(node)
        else:
            self._pages.unplace(node)
        self._tree.remove(node)

    def __repr__(self) -> str:
        return f"<BlockPool used={self.used} cached={self.cached} total={self.pages_total}>"
