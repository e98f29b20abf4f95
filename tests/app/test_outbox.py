"""The bounded queue of a connection."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.outbox import Outbox


def test_it_gives_everything_in_order_and_is_empty_afterwards() -> None:
    outbox = Outbox(100)
    assert outbox.offer(b"one")
    assert outbox.offer(b"two")
    assert (len(outbox), outbox.bytes) == (2, 6)
    assert outbox.take() == [b"one", b"two"]
    assert (len(outbox), outbox.bytes) == (0, 0)
    assert outbox.take() == []


def test_a_payload_past_the_bound_is_refused_and_not_kept() -> None:
    outbox = Outbox(6)
    assert outbox.offer(b"123456")
    assert not outbox.offer(b"7")
    assert outbox.take() == [b"123456"]
    assert outbox.offer(b"7")


@given(st.lists(st.binary(max_size=40), max_size=50), st.integers(0, 300))
def test_it_never_holds_more_than_its_bound(payloads: list[bytes], bound: int) -> None:
    outbox = Outbox(bound)
    kept = [payload for payload in payloads if outbox.offer(payload)]
    assert outbox.bytes == sum(map(len, kept)) <= max(bound, len(kept[0]) if kept else 0)
    assert outbox.take() == kept


def test_a_payload_alone_is_kept_whatever_its_size() -> None:
    outbox = Outbox(2)
    assert outbox.offer(b"123456")
    assert not outbox.offer(b"7")
    assert outbox.take() == [b"123456"]


def test_its_repr_shows_no_payload() -> None:
    outbox = Outbox(10)
    outbox.offer(b"secret")
    assert repr(outbox) == "<Outbox 1 payloads 6/10 bytes>"
