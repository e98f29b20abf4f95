"""What holds of a scheduler's pages after whatever has happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from engine.prefixes import Node
from engine.scheduler import Scheduler
from tests.engine.written_runner import WrittenRunner


def check_places(scheduler: Scheduler) -> None:
    _check_holders(scheduler)
    _check_known(scheduler)
    _check_order(scheduler)
    _check_host(scheduler)
    _check_pins(scheduler)


def nodes_of(scheduler: Scheduler) -> Iterator[Node]:
    for root in scheduler.pool._tree._roots.values():
        yield from (node for node in root.below() if node is not root)


def _check_holders(scheduler: Scheduler) -> None:
    """Each page is counted for each that holds it, and is in one place."""
    pool, pages = scheduler.pool, scheduler.pool._pages
    transit = pool._transit
    held = [held for batch in [*transit._sent, transit.planned] for held in batch.held]
    held += [parked for parked, _ in pages._parked]
    for sequence in [*scheduler._live.values(), *scheduler._drafts._todo.values()]:
        if (lease := sequence.lease) is not None:
            held.append(lease.pages)
            chain = list(lease._node.to_root()) if lease._node else []
            assert [node.page for node in reversed(chain)] == lease.pages[: lease.known]
    holders = Counter(page for each in held for page in each)
    assert pages.holders == [holders[page] for page in range(pages.total)]
    assert sorted([*holders, *pages.free, *pages.idle, *pages.pinned]) == list(range(pages.total))
    assert pool.used == len(holders)


def _check_known(scheduler: Scheduler) -> None:
    """The tree, and what pages and the host's pages say of it, are the same."""
    pool = scheduler.pool
    nodes = list(nodes_of(scheduler))
    assert {node.page: node for node in nodes if node.page >= 0} == pool._pages.nodes
    assert {node.host: node for node in nodes if node.host >= 0} == pool.host._loose | pool.host._pinned
    for node in nodes:
        assert node.parent is not None
        assert (node.page >= 0) != (node.host >= 0)
        assert node.parent.children[node.tokens] is node
        assert not node.children or len(node.tokens) == pool.page_tokens
    assert all(root.children for root in pool._tree._roots.values())


def _check_order(scheduler: Scheduler) -> None:
    """A page's ancestors are on the device, and leave it later."""
    pages = scheduler.pool._pages
    leaves = {page: place for place, page in enumerate([*pages.idle, *pages.pinned])}
    for page, node in pages.nodes.items():
        parent = node.parent
        assert parent is not None
        if parent.parent is not None:
            assert parent.page >= 0
            assert leaves.get(page, -1) < leaves.get(parent.page, pages.total)
            assert page in leaves or parent.page not in leaves
    for queue in (pages.idle, pages.pinned):
        assert all(node is pages.nodes.get(page) for page, node in queue.items())


def _check_host(scheduler: Scheduler) -> None:
    """Each of the host's pages is in one place, and its ancestors are given up later."""
    host = scheduler.pool.host
    places = [*host._free, *host._loose, *host._pinned, *host._ended]
    assert sorted(places) == list(range(host.total))
    assert not host._copied.keys() & host._free
    given_up = {page: place for place, page in enumerate([*host._loose, *host._pinned])}
    for node in host.nodes():
        assert node.parent is not None
        assert node.parent.host < 0 or given_up[node.host] < given_up[node.parent.host]


def _check_pins(scheduler: Scheduler) -> None:
    pool = scheduler.pool
    pins = pool._pins._pins
    assert len(pins) <= pool.pages_total + pool.host.total
    counted = Counter(node for _, deepest in pins.values() for node in deepest.to_root())
    for node in nodes_of(scheduler):
        assert node.pins == counted[node]
        assert all(pins[key][1] is node for key in node.ends)
    assert all(node is not None and node.pins for node in pool._pages.pinned.values())
    assert not any(node is not None and node.pins for node in pool._pages.idle.values())
    assert all(node.pins for node in pool.host._pinned.values())
    assert not any(node.pins for node in pool.host._loose.values())


def check_content(scheduler: Scheduler, runner: WrittenRunner) -> None:
    """Wherever a known page is, it holds what was computed for its tokens, and for its salt."""
    pool = scheduler.pool
    for node in nodes_of(scheduler):
        if node.page >= 0:
            if node.page in pool._transit.arriving:
                continue
            cells = runner.cells[node.page]
        else:
            if node.host in pool.host._copied:
                continue
            assert runner.mover is not None
            cells = runner.mover.host[node.host]
        assert cells[: len(node.tokens)] == [(node.salt, token) for token in node.tokens]
