"""Erasing a text: what it alone has is gone, what others have too is there."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.blocks import BlockPool
from engine.lease import Lease

PAGE = 4
ROOM = 64


def pool_of(host_pages: int = 0) -> BlockPool:
    return BlockPool(ROOM, PAGE, host_pages)


def begun(pool: BlockPool, name: str, ids: list[int], salt: str = "") -> Lease:
    found = pool.open(ids, len(ids), salt)
    assert found is not None
    found.lease.name = name
    pool.take_moves()
    pool.enter(found.lease, ids, len(ids))
    return found.lease


def ended(pool: BlockPool, lease: Lease, ids: list[int]) -> None:
    pool.enter_all(lease, ids)
    pool.close(lease)


def said(pool: BlockPool, name: str, ids: list[int], salt: str = "") -> None:
    ended(pool, begun(pool, name, ids, salt), ids)


def found(pool: BlockPool, ids: list[int], salt: str = "") -> int:
    """How many of the tokens are there; asking changes nothing that matters here."""
    opened = pool.open([*ids, -1], len(ids) + 1, salt)
    assert opened is not None
    pool.close(opened.lease)
    return opened.cached_tokens


def test_all_of_a_text_is_gone_to_its_last_page() -> None:
    pool, ids = pool_of(), list(range(11))
    said(pool, "one", ids)
    assert found(pool, ids) == 11
    pool.texts.erase("one")
    assert (found(pool, ids), pool.cached, pool.available) == (0, 0, ROOM)


def test_what_it_continues_stays_to_the_token_of_a_full_page_and_what_goes_on_from_it_goes() -> None:
    pool, ids = pool_of(), list(range(40))
    said(pool, "first", ids[:12])
    said(pool, "second", ids[:22])
    said(pool, "third", ids)
    pool.texts.erase("second")
    assert found(pool, ids) == 12
    pool.texts.erase("third")  # nothing is left of it
    pool.texts.erase("first")
    assert pool.cached == 0


def test_a_page_that_holds_the_end_of_its_parent_and_its_own_beginning_goes() -> None:
    pool, ids = pool_of(), list(range(30))
    said(pool, "first", ids[:10])
    said(pool, "second", ids[:20])
    pool.texts.erase("second")
    assert found(pool, ids) == 8
    said(pool, "second", ids[:20])
    assert found(pool, ids) == 20


def test_what_another_text_begins_with_stays() -> None:
    pool, system = pool_of(), list(range(8))
    one, other = [*system, *range(100, 110)], [*system, *range(200, 210)]
    said(pool, "one", one)
    said(pool, "other", other)
    pool.texts.erase("one")
    assert (found(pool, one), found(pool, other)) == (8, 18)
    pool.texts.erase("other")
    assert pool.cached == 0


def test_nothing_of_another_salt_is_touched() -> None:
    pool, ids = pool_of(), list(range(9))
    said(pool, "mine", ids, "mine")
    said(pool, "yours", ids, "yours")
    pool.texts.erase("mine")
    assert (found(pool, ids, "mine"), found(pool, ids, "yours")) == (0, 9)


def test_what_is_computed_with_goes_when_it_is_given_back() -> None:
    pool, ids = pool_of(), list(range(30))
    said(pool, "first", ids[:10])
    running = begun(pool, "second", ids[:26])
    pool.texts.erase("first")
    assert found(pool, ids) == 24
    ended(pool, running, ids[:26])
    assert (found(pool, ids), pool.cached) == (0, 0)


def test_what_a_step_may_still_write_to_goes_when_the_step_is_back() -> None:
    pool, ids = pool_of(), list(range(30))
    said(pool, "first", ids[:10])
    running = begun(pool, "second", ids[:26])
    pool.depart()
    pool.close(running)
    pool.texts.erase("first")
    assert pool.used
    pool.arrive()
    assert (pool.used, pool.cached, pool.available) == (0, 0, ROOM)


def test_pages_of_a_reply_that_were_left_and_claimed_are_of_its_text() -> None:
    pool, ids = pool_of(), list(range(14))
    lease = begun(pool, "one", ids[:9])
    pool.grow(lease, 14)
    left = pool.leave(lease)
    claimed = pool.claim(left)
    ended(pool, claimed, ids)
    assert found(pool, ids) == 14
    pool.texts.erase("one")
    assert (found(pool, ids), pool.cached) == (0, 0)


def test_what_moved_to_the_host_is_given_up_there() -> None:
    pool, ids = pool_of(host_pages=32), list(range(11))
    said(pool, "one", ids)
    filler = begun(pool, "", list(range(1000, 1000 + ROOM * PAGE)))
    pool.land(1)
    pool.close(filler)
    assert pool.host.used == 3
    pool.texts.erase("one")
    assert pool.host.used == 0


def test_a_pinned_context_falls_back_to_what_is_left_of_it() -> None:
    pool, ids = pool_of(), list(range(30))
    for name, end in (("first", 12), ("second", 26)):
        lease = begun(pool, name, ids[:end])
        pool.enter_all(lease, ids[:end])
        pool.pin(lease, ("", "session"), 10.0)
        pool.close(lease)
    pool.texts.erase("second")
    assert (pool.pinned, found(pool, ids)) == (3, 12)
    pool.texts.erase("first")
    assert (pool.pinned, pool.cached) == (0, 0)


def test_a_text_that_only_found_pages_has_none_to_erase() -> None:
    pool, ids = pool_of(), list(range(10))
    said(pool, "first", ids)
    pool.close(begun(pool, "second", [*ids, 77]))
    pool.texts.erase("second")
    assert found(pool, ids) == 10


def test_a_text_that_is_not_known_changes_nothing() -> None:
    pool, ids = pool_of(), list(range(9))
    said(pool, "one", ids)
    said(pool, "", [*ids, 5])  # nobody can ask for it
    pool.texts.erase("another")
    pool.texts.erase("")
    assert found(pool, ids) == 9


def test_the_oldest_texts_are_no_longer_known_past_the_bound() -> None:
    pool = BlockPool(2, PAGE)
    for name in ("a", "b", "c"):
        said(pool, name, [1, 2, 3, 4])
    assert len(pool.texts) == 2
    pool.texts.erase("a")
    assert pool.cached == 1
    pool.texts.erase("b")
    assert (pool.cached, len(pool.texts)) == (0, 0)


TALKS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=14), min_size=1, max_size=8)


@settings(max_examples=300)
@given(TALKS, st.data())
def test_nothing_that_only_erased_texts_have_is_found_whatever_the_order(
    talks: list[list[int]], data: st.DataObject
) -> None:
    pool = pool_of()
    texts = {str(at): ids for at, ids in enumerate(talks)}
    for name, ids in texts.items():
        said(pool, name, ids)
    gone = data.draw(st.sets(st.sampled_from(sorted(texts))))
    for name in data.draw(st.permutations(sorted(gone))):
        pool.texts.erase(name)
    kept = [ids for name, ids in texts.items() if name not in gone]
    for name in gone:
        shared = max((common(ids, texts[name]) for ids in kept), default=0)
        assert found(pool, texts[name]) <= shared
    for name in sorted(texts):
        pool.texts.erase(name)
    assert (pool.cached, pool.available) == (0, ROOM)


def common(one: list[int], other: list[int]) -> int:
    return next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
