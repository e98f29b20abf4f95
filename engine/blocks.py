"""Pages of keys and values: who holds which, and which prompts they already contain.

A prompt's full pages hang in a tree per salt, keyed by their exact tokens, so a lookup compares tokens and
cannot be fooled by a hash collision. Only pages of prompts are entered: what a model generated is never found
by anyone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

COMPARED_SIBLINGS = 16
"""How many of the latest pages behind the last full match are compared for a common beginning."""


@dataclass(slots=True, eq=False)
class _Node:
    """A page whose content is known: `tokens` behind everything its ancestors hold. The root has no page."""

    parent: _Node | None
    tokens: tuple[int, ...]
    page: int
    salt: str
    children: dict[tuple[int, ...], _Node] = field(default_factory=dict)
    pinned_until: float = 0.0
    pin: int | None = None  # the warm-up whose deepest page this is


@dataclass(slots=True, eq=False)
class Lease:
    """The pages of one sequence, in order of position. Change it through its pool only."""

    salt: str
    pages: list[int]
    known: int  # the leading pages that are in the tree
    _node: _Node | None  # the last of them

    def __repr__(self) -> str:
        return f"<Lease pages={len(self.pages)} known={self.known}>"


@dataclass(frozen=True, slots=True)
class Opened:
    lease: Lease
    cached_tokens: int  # leading positions that need not be computed
    copy: tuple[int, int] | None  # (source, target): copy this page before anything of the step is written


class BlockPool:
    """A fixed number of pages with reference counts.

    A page is used (held by leases), idle (in the tree, held by nobody, free to take) or free. Idle pages are
    evicted least recently used first and leaves first; pinned ones (warm-ups) only when no other is left.
    """

    def __init__(self, pages_total: int, page_tokens: int) -> None:
        if pages_total < 1 or page_tokens < 1:
            raise ValueError("a pool needs at least one page of at least one token")
        self.pages_total = pages_total
        self.page_tokens = page_tokens
        self.releases = 0  # grows whenever pages become available
        self._free = list(range(pages_total - 1, -1, -1))
        self._holders = [0] * pages_total
        self._nodes: dict[int, _Node] = {}  # by page
        self._roots: dict[str, _Node] = {}  # by salt
        # Whoever holds a page holds all its ancestors and lets go of them later, so descendants stand in
        # front of their ancestors in both, and taking from the front takes leaves first.
        self._idle: OrderedDict[int, _Node] = OrderedDict()
        self._pinned: OrderedDict[int, _Node] = OrderedDict()
        self._pins: dict[
            int, tuple[float, _Node]
        ] = {}  # each warm-up's end and deepest page, first to end first
        self._pins_made = 0

    @property
    def available(self) -> int:
        return len(self._free) + len(self._idle) + len(self._pinned)

    @property
    def used(self) -> int:
        return self.pages_total - self.available

    @property
    def cached(self) -> int:
        return len(self._idle) + len(self._pinned)

    def pages_for(self, tokens: int) -> int:
        return -(-tokens // self.page_tokens)

    def open(self, prompt: Sequence[int], total_tokens: int, salt: str, *, spare: int = 0) -> Opened | None:
        """Pages for `total_tokens` positions that begin with `prompt`, as many as possible already computed.

        At least the last position is left to compute. None, and nothing changed, if the pages are not there
        or fewer than `spare` would remain.
        """
        limit = min(len(prompt), total_tokens - 1)
        chain = self._match(prompt, limit, salt)
        start = len(chain) * self.page_tokens
        source, shared = self._closest(chain[-1] if chain else self._roots.get(salt), prompt, start, limit)
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

    def enter(self, lease: Lease, prompt: Sequence[int], computed: int) -> None:
        """Make full pages of `prompt` known, up to `computed` positions that have been written."""
        size = self.page_tokens
        while (end := (lease.known + 1) * size) <= min(computed, len(prompt)):
            self._enter(lease, tuple(prompt[end - size : end]))

    def pin(self, lease: Lease, prompt: Sequence[int], until: float) -> None:
        """Enter all of a computed `prompt`, its partial last page too, and keep it until then or memory
        pressure.

        The lease must not be written to any more. Calls come with times that do not fall.
        """
        self.enter(lease, prompt, len(prompt))
        if tail := tuple(prompt[lease.known * self.page_tokens :]):
            self._enter(lease, tail)
        deepest = node = lease._node
        assert deepest is not None
        while node is not None and node.parent is not None:
            node.pinned_until = max(node.pinned_until, until)
            node = node.parent
        if deepest.pin is not None:
            del self._pins[deepest.pin]
        deepest.pin = self._pins_made = self._pins_made + 1
        self._pins[deepest.pin] = (until, deepest)

    def expire(self, now: float) -> None:
        """End the pins whose time has come; their pages stay known."""
        while self._pins:
            pin, (until, node) = next(iter(self._pins.items()))
            if until > now:
                return
            del self._pins[pin]
            node.pin = None
            self._unpin(node, now)

    def close(self, lease: Lease) -> None:
        """Give back all pages of the lease."""
        for page in reversed(lease.pages):
            self._drop(page)
        lease.pages = []
        lease._node = None
        lease.known = 0

    def _match(self, prompt: Sequence[int], limit: int, salt: str) -> list[_Node]:
        chain: list[_Node] = []
        node = self._roots.get(salt)
        size = self.page_tokens
        while node is not None and (end := (len(chain) + 1) * size) <= limit:
            node = node.children.get(tuple(prompt[end - size : end]))
            if node is not None:
                chain.append(node)
        return chain

    def _closest(
        self, parent: _Node | None, prompt: Sequence[int], start: int, limit: int
    ) -> tuple[_Node | None, int]:
        """The child that shares the longest beginning with `prompt[start:limit]`, and how long that is."""
        if parent is None or start >= limit:
            return None, 0
        best, best_shared = None, 0
        wanted = tuple(prompt[start : min(limit, start + self.page_tokens)])
        for child in islice(reversed(parent.children.values()), COMPARED_SIBLINGS):
            shared = _common(child.tokens, wanted)
            if shared > best_shared:
                best, best_shared = child, shared
        return best, best_shared

    def _enter(self, lease: Lease, tokens: tuple[int, ...]) -> None:
        parent = lease._node
        if parent is None:
            parent = self._roots.setdefault(lease.salt, _Node(None, (), -1, lease.salt))
        page = lease.pages[lease.known]
        node = parent.children.get(tokens)
        if node is None:
            node = parent.children[tokens] = self._nodes[page] = _Node(parent, tokens, page, lease.salt)
        elif node.page != page:
            # Someone else computed the same page meanwhile: share theirs, so that the holder of a page always
            # holds its ancestors, and give ours back.
            self._hold(node.page)
            lease.pages[lease.known] = node.page
            self._drop(page)
        lease._node = node
        lease.known += 1

    def _unpin(self, deepest: _Node, now: float) -> None:
        node: _Node | None = deepest
        while node is not None and node.parent is not None:
            if node.pinned_until <= now:
                node.pinned_until = 0.0
                if self._pinned.pop(node.page, None) is not None:
                    self._idle[node.page] = node
            node = node.parent

    def _hold(self, page: int) -> None:
        if self._holders[page] == 0:
            self._idle.pop(page, None)
            self._pinned.pop(page, None)
        self._holders[page] += 1

    def _drop(self, page: int) -> None:
        self._holders[page] -= 1
        assert self._holders[page] >= 0, page
        if self._holders[page]:
            return
        self.releases += 1
        node = self._nodes.get(page)
        if node is None:
            self._free.append(page)
        elif node.pinned_until:
            self._pinned[page] = node
        else:
            self._idle[page] = node

    def _take(self) -> int:
        if self._free:
            page = self._free.pop()
        else:
            page, node = (self._idle or self._pinned).popitem(last=False)
            self._forget(node)
        self._holders[page] = 1
        return page

    def _forget(self, node: _Node) -> None:
        parent = node.parent
        assert parent is not None
        assert not node.children, "leaves are evicted first"
        del self._nodes[node.page]
        del parent.children[node.tokens]
        if node.pin is not None:
            self._move_pin(node.pin, parent)
        if parent.parent is None and not parent.children:
            del self._roots[parent.salt]

    def _move_pin(self, pin: int, parent: _Node) -> None:
        """The deepest page of a pin was evicted: the one above is the deepest now, of the later pin if of two."""
        if parent.parent is None or (parent.pin is not None and parent.pin > pin):
            del self._pins[pin]
            return
        if parent.pin is not None:
            del self._pins[parent.pin]
        parent.pin = pin
        self._pins[pin] = (self._pins[pin][0], parent)

    def __repr__(self) -> str:
        return f"<BlockPool used={self.used} cached={self.cached} total={self.pages_total}>"


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading items are equal."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))
