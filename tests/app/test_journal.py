"""The replay log of live and just-ended responses."""

from __future__ import annotations

from app.journal import Journal, Ring


def journal_of(*events: bytes) -> Journal:
    journal = Journal("msg_1")
    for event in events:
        journal.append(event)
    return journal


def test_a_replay_starts_after_the_given_position() -> None:
    journal = journal_of(b"a", b"b", b"c")
    assert journal.after(-1) == [b"a", b"b", b"c"]
    assert journal.after(1) == [b"c"]
    assert journal.after(2) == []
    assert journal.after(99) == []


def test_an_ended_response_is_there_for_its_tenant_alone() -> None:
    ring = Ring(max_bytes=100, max_age_s=10)
    journal = journal_of(b"abc")
    ring.add("resp_1", "mine", journal, now=0.0)
    assert ring.get("resp_1", "mine", now=5.0) is journal
    assert ring.get("resp_1", "other", now=5.0) is None
    assert ring.get("resp_2", "mine", now=5.0) is None


def test_an_ended_response_goes_when_its_time_is_over() -> None:
    ring = Ring(max_bytes=100, max_age_s=10)
    ring.add("resp_1", "mine", journal_of(b"abc"), now=0.0)
    ring.add("resp_2", "mine", journal_of(b"abc"), now=8.0)
    assert ring.get("resp_1", "mine", now=10.0) is not None
    assert ring.get("resp_1", "mine", now=10.1) is None
    assert ring.get("resp_2", "mine", now=10.1) is not None
    assert (len(ring), ring.bytes) == (1, 3)


def test_the_oldest_make_room_for_the_newest() -> None:
    ring = Ring(max_bytes=10, max_age_s=100)
    for number in range(5):
        ring.add(f"resp_{number}", "mine", journal_of(b"1234"), now=float(number))
    assert ring.bytes == 8
    assert [ring.get(f"resp_{n}", "mine", now=5.0) is not None for n in range(5)] == [False] * 3 + [True] * 2


def test_a_journal_larger_than_the_ring_is_not_kept() -> None:
    ring = Ring(max_bytes=3, max_age_s=100)
    ring.add("resp_1", "mine", journal_of(b"1234"), now=0.0)
    assert (len(ring), ring.bytes) == (0, 0)


def test_a_deleted_response_leaves_nothing() -> None:
    ring = Ring(max_bytes=100, max_age_s=100)
    ring.add("resp_1", "mine", journal_of(b"1234"), now=0.0)
    ring.discard("resp_1")
    ring.discard("resp_1")
    assert (len(ring), ring.bytes) == (0, 0)
