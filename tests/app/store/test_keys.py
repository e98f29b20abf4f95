"""The records of keys on real stores."""

from __future__ import annotations

import asyncio

import pytest

from app.store.client import Store
from app.store.keys import FoundKey, KeyRecord, KeyRecords

pytestmark = pytest.mark.anyio


def record(id: str, created_at: int = 1, expires_at: int | None = None) -> KeyRecord:
    return KeyRecord(
        id, f"key {id}", "default", "developer", b"digest of " + id.encode(), created_at, expires_at
    )


async def test_a_record_is_found_as_it_was_added(store: Store) -> None:
    records = KeyRecords(store)
    assert await records.add(record("aaaaaaaa", expires_at=9))
    assert await records.find("aaaaaaaa") == FoundKey(record("aaaaaaaa", expires_at=9), None)
    assert await records.find("bbbbbbbb") is None


async def test_an_id_is_given_once(store: Store) -> None:
    records = KeyRecords(store)
    assert await records.add(record("aaaaaaaa", created_at=1))
    assert not await records.add(record("aaaaaaaa", created_at=2))
    found = await records.find("aaaaaaaa")
    assert found is not None
    assert found.record.created_at == 1


async def test_a_revocation_is_kept_with_its_time(store: Store) -> None:
    records = KeyRecords(store)
    await records.add(record("aaaaaaaa"))
    assert await records.revoke("aaaaaaaa", 5)
    assert await records.revoke("aaaaaaaa", 7)
    assert await records.find("aaaaaaaa") == FoundKey(record("aaaaaaaa"), 5)
    assert not await records.revoke("bbbbbbbb", 5)


async def test_all_keys_are_listed_oldest_first(store: Store) -> None:
    records = KeyRecords(store)
    assert await records.all() == []
    await records.claim_pepper("fingerprint")
    for id, created_at in (("cccccccc", 3), ("bbbbbbbb", 1), ("aaaaaaaa", 1)):
        await records.add(record(id, created_at))
    await records.revoke("bbbbbbbb", 9)
    assert [(key.record.id, key.revoked_at) for key in await records.all()] == [
        ("aaaaaaaa", None),
        ("bbbbbbbb", 9),
        ("cccccccc", None),
    ]


async def test_of_servers_that_start_at_once_one_adds_the_first_key(store: Store) -> None:
    records = KeyRecords(store)
    ids = [f"aaaaaaa{number}" for number in range(8)]
    added = await asyncio.gather(*(records.add_first(record(id)) for id in ids))
    assert sum(added) == 1
    assert len(await records.all()) == 1


async def test_there_is_no_first_key_once_any_was_made(store: Store) -> None:
    records = KeyRecords(store)
    await records.add(record("aaaaaaaa"))
    await records.revoke("aaaaaaaa", 1)
    assert not await records.add_first(record("bbbbbbbb"))
    assert await records.find("bbbbbbbb") is None


async def test_the_first_pepper_counts(store: Store) -> None:
    records = KeyRecords(store)
    assert await records.claim_pepper("one")
    assert await records.claim_pepper("one")
    assert not await records.claim_pepper("two")
