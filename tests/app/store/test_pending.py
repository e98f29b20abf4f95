"""The queue of writes that wait for the store: its bounds, and what happens at them."""

from __future__ import annotations

from app.store.pending import PendingWrites
from app.store.record import StoredResponse


def response(id: str, text: str = "") -> StoredResponse:
    return StoredResponse(id=id, created_at=1, model="m", response=b"{}", output_text=text)


def test_the_oldest_gives_way_past_the_count() -> None:
    pending = PendingWrites(2, 10_000)
    assert pending.add("t", response("a")) == []
    assert pending.add("t", response("b")) == []
    assert [write.record.id for write in pending.add("t", response("c"))] == ["a"]
    assert [pending.find("t", id) is not None for id in "abc"] == [False, True, True]


def test_the_oldest_give_way_past_the_bytes() -> None:
    pending = PendingWrites(10, 2_500)
    pending.add("t", response("a", "x" * 1_000))
    pending.add("t", response("b", "x" * 1_000))
    assert [write.record.id for write in pending.add("t", response("c", "x" * 2_000))] == ["a", "b"]
    assert 2_000 < pending.bytes <= 2_500


def test_a_record_longer_than_the_bound_is_not_kept() -> None:
    pending = PendingWrites(10, 500)
    assert [write.record.id for write in pending.add("t", response("a", "x" * 1_000))] == ["a"]
    assert (len(pending), pending.bytes, pending.oldest()) == (0, 0, None)


def test_a_newer_record_of_the_same_id_takes_the_older_ones_place() -> None:
    pending = PendingWrites(10, 10_000)
    pending.add("t", response("a", "old"))
    pending.add("t", response("a", "new"))
    found = pending.find("t", "a")
    assert found is not None
    assert (found.output_text, len(pending)) == ("new", 1)


def test_tenants_do_not_see_each_other() -> None:
    pending = PendingWrites(10, 10_000)
    pending.add("one", response("a"))
    assert pending.find("two", "a") is None
    assert not pending.remove("two", "a")
    assert pending.remove("one", "a")
    assert repr(pending) == "<PendingWrites records=0 bytes=0>"
