"""Stored responses on real stores, with the store there, away and coming back."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from app.store import responses
from app.store.client import Store, StoreUnavailable
from app.store.record import StoredResponse, pack_ids
from app.store.responses import ResponseStores
from app.store.valkey import EmbeddedValkey
from tests.app.store.waiting import until

pytestmark = pytest.mark.anyio


def turn(id: str, parent: str | None = None, text: str = "reply") -> StoredResponse:
    return StoredResponse(
        id=id,
        created_at=1,
        model="m",
        response=b"{}",
        parent_id=parent,
        output_text=text,
        context_ids=pack_ids([len(id)]),
    )


async def chain(stores: ResponseStores, tenant: str, *ids: str) -> None:
    parent = None
    for id in ids:
        assert await stores.of(tenant).put(turn(id, parent))
        parent = id


def names(records: tuple[StoredResponse, ...]) -> list[str]:
    return [record.id for record in records]


async def test_a_response_is_read_as_it_was_written(stores: ResponseStores) -> None:
    record = turn("r1", text="ein \0 Wort 🙂")
    assert await stores.of("t").put(record)
    assert await stores.of("t").get("r1") == record


async def test_a_foreign_id_is_as_missing_as_an_unknown_one(stores: ResponseStores) -> None:
    await chain(stores, "one", "r1")
    other = stores.of("two")
    for id in ("r1", "unknown"):
        assert await other.get(id) is None
        assert (await other.lineage(id)).missing == id
        assert not await other.delete(id)
    assert await stores.of("one").get("r1") is not None


@pytest.mark.parametrize("id", ["", "r1\0", "r1}", "a:b", "x" * 129, "\ud800", "r1\n"])
async def test_what_cannot_be_an_id_is_missing(stores: ResponseStores, id: str) -> None:
    await chain(stores, "t", "r1")
    store = stores.of("t")
    assert await store.get(id) is None
    assert (await store.lineage(id)).missing == id
    assert not await store.delete(id)


@pytest.mark.parametrize("tenant", ["", "a:b", "{a}", "x" * 65, "a b"])
async def test_a_tenant_that_could_name_anothers_keys_is_refused(stores: ResponseStores, tenant: str) -> None:
    with pytest.raises(ValueError, match="not a tenant"):
        stores.of(tenant)


async def test_a_lineage_is_read_root_first(stores: ResponseStores) -> None:
    await chain(stores, "t", "a", "b", "c")
    lineage = await stores.of("t").lineage("c")
    assert (names(lineage.records), lineage.missing, lineage.cut) == (["a", "b", "c"], None, False)


async def test_two_branches_share_their_ancestors(stores: ResponseStores) -> None:
    await chain(stores, "t", "a", "b")
    await stores.of("t").put(turn("b2", "a"))
    assert names((await stores.of("t").lineage("b")).records) == ["a", "b"]
    assert names((await stores.of("t").lineage("b2")).records) == ["a", "b2"]


async def test_a_whole_lineage_is_one_command(stores: ResponseStores) -> None:
    await chain(stores, "t", *(f"r{number}" for number in range(50)))
    before = await commands(stores.store, "eval")
    await stores.of("t").lineage("r49")
    assert await commands(stores.store, "eval") == before + 1


async def commands(store: Store, name: str) -> int:
    info = await store.call(store.command("INFO", "commandstats"))
    return int(info[f"cmdstat_{name}"]["calls"])


async def test_a_deleted_ancestor_is_named(stores: ResponseStores) -> None:
    await chain(stores, "t", "a", "b", "c", "d")
    assert await stores.of("t").delete("b")
    lineage = await stores.of("t").lineage("d")
    assert (names(lineage.records), lineage.missing) == (["c", "d"], "b")
    assert await stores.of("t").get("d") is not None


@pytest.mark.parametrize(("length", "cut"), [(9, False), (10, False), (11, True)])
async def test_a_lineage_is_bounded(store: Store, length: int, cut: bool) -> None:
    stores = ResponseStores(store, ttl_s=60, max_turns=10, pending_writes=1, pending_bytes=1)
    await chain(stores, "t", *(f"r{number}" for number in range(length)))
    lineage = await stores.of("t").lineage(f"r{length - 1}")
    assert (len(lineage.records), lineage.cut, lineage.missing) == (min(length, 10), cut, None)
    assert lineage.records[-1].id == f"r{length - 1}"


async def test_the_time_to_live_begins_anew_for_the_whole_lineage(stores: ResponseStores) -> None:
    await chain(stores, "t", "a", "b")
    store = stores.store
    for id in ("a", "b"):
        await store.call(store.command("PEXPIRE", f"sluice:{{t}}:response:{id}", 5_000))
    await stores.of("t").lineage("b")
    for id in ("a", "b"):
        left_ms = await store.call(store.command("PTTL", f"sluice:{{t}}:response:{id}"))
        assert 50_000 < left_ms <= 60_000


async def test_an_expired_response_is_missing(stores: ResponseStores) -> None:
    await chain(stores, "t", "a", "b")
    store = stores.store
    await store.call(store.command("PEXPIRE", "sluice:{t}:response:a", 1))

    async def gone() -> bool:
        return await stores.of("t").get("a") is None

    await until(gone)
    assert (await stores.of("t").lineage("b")).missing == "a"


async def test_every_key_lives_for_a_time_only(stores: ResponseStores) -> None:
    await chain(stores, "t", "a", "b", "c")
    store = stores.store
    for key in await store.call(store.command("KEYS", "*")):
        assert await store.call(store.command("PTTL", key)) > 0


async def test_nothing_of_a_deleted_response_stays(
    stores: ResponseStores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "SCRUB_S", 0.01)
    store = stores.store
    scrubbing = ResponseStores(store, ttl_s=60, max_turns=10, pending_writes=1, pending_bytes=1, scrub=True)
    await scrubbing.of("t").put(turn("a", text="the-secret-word"))
    await scrubbing.of("t").put(turn("b", "a"))
    assert await on_disk(tmp_path, b"the-secret-word")
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(scrubbing.run())
        assert await scrubbing.of("t").delete("a")
        assert await in_keys(store, b"the-secret-word") == []
        await until(lambda: not_on_disk(tmp_path, b"the-secret-word"))
        # one that comes while the file is being rewritten is not forgotten
        await scrubbing.of("t").put(turn("c", text="another-secret"))
        await store.call(store.command("BGREWRITEAOF"))
        assert await scrubbing.of("t").delete("c")
        await until(lambda: not_on_disk(tmp_path, b"another-secret"))
        run.cancel()
    assert await scrubbing.of("t").get("b") is not None


async def in_keys(store: Store, needle: bytes) -> list[bytes]:
    keys = await store.call(store.command("KEYS", "*"))
    return [key for key in keys if needle in await store.call(store.command("DUMP", key))]


async def on_disk(folder: Path, needle: bytes) -> bool:
    for path in (folder / "valkey" / "data").rglob("*"):
        try:
            if path.is_file() and needle in path.read_bytes():
                return True
        except FileNotFoundError:
            return True  # a file of the rewrite itself: look again
    return False


async def not_on_disk(folder: Path, needle: bytes) -> bool:
    return not await on_disk(folder, needle)


async def test_a_write_waits_while_the_store_is_away_and_is_read_meanwhile(
    server: EmbeddedValkey, stores: ResponseStores
) -> None:
    await chain(stores, "t", "a")
    await server.stop()
    assert not await stores.of("t").put(turn("b", "a"))
    waiting = await stores.of("t").get("b")
    assert waiting is not None
    assert waiting.id == "b"
    with pytest.raises(StoreUnavailable):
        await stores.of("t").lineage("b")  # its parent is in the store
    assert not await stores.of("t").put(turn("root"))
    assert not await stores.of("t").put(turn("leaf", "root"))
    assert names((await stores.of("t").lineage("leaf")).records) == ["root", "leaf"]  # both are in memory


async def test_waiting_writes_arrive_when_the_store_is_back(
    server: EmbeddedValkey, stores: ResponseStores
) -> None:
    await chain(stores, "t", "a")
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(stores.run())
        await server.stop()
        assert not await stores.of("t").put(turn("b", "a"))
        assert not await stores.of("t").put(turn("c", "b"))
        await server.start()

        async def all_written() -> bool:
            return len(stores.pending) == 0

        await until(all_written)
        run.cancel()
    lineage = await stores.of("t").lineage("c")
    assert (names(lineage.records), lineage.missing) == (["a", "b", "c"], None)


async def test_a_chain_crosses_between_memory_and_store(
    server: EmbeddedValkey, stores: ResponseStores
) -> None:
    await chain(stores, "t", "a")
    await server.stop()
    await stores.of("t").put(turn("b", "a"))
    await server.start()
    assert await stores.of("t").put(turn("c", "b"))  # written while its parent still waits
    assert len(stores.pending) == 1
    assert names((await stores.of("t").lineage("c")).records) == ["a", "b", "c"]


async def test_a_waiting_response_can_be_deleted(server: EmbeddedValkey, stores: ResponseStores) -> None:
    await chain(stores, "t", "a")
    await server.stop()
    await stores.of("t").put(turn("b", "a"))
    await server.start()
    assert await stores.of("t").delete("b")
    assert await stores.of("t").get("b") is None
    await stores.flush()
    assert await stores.of("t").get("b") is None


async def test_a_deletion_with_the_store_away_says_so(server: EmbeddedValkey, stores: ResponseStores) -> None:
    await chain(stores, "t", "a")
    await server.stop()
    with pytest.raises(StoreUnavailable):
        await stores.of("t").delete("a")
    await server.start()
    assert await stores.of("t").get("a") is not None


async def test_the_oldest_waiting_write_is_dropped_by_name(
    server: EmbeddedValkey, stores: ResponseStores, caplog: pytest.LogCaptureFixture
) -> None:
    await server.stop()
    for id in ("a", "b", "c", "d"):
        assert not await stores.of("t").put(turn(id))
    assert len(stores.pending) == 3
    assert "pending write dropped response=a" in caplog.text


async def test_closing_writes_what_waits(server: EmbeddedValkey, stores: ResponseStores) -> None:
    await server.stop()
    await stores.of("t").put(turn("a"))
    await server.start()
    await stores.close()
    assert len(stores.pending) == 0
    assert await stores.of("t").get("a") is not None


async def test_closing_names_what_cannot_be_written(
    server: EmbeddedValkey, stores: ResponseStores, caplog: pytest.LogCaptureFixture
) -> None:
    await server.stop()
    await stores.of("t").put(turn("a"))
    await stores.close()
    assert "pending write lost at shutdown response=a" in caplog.text
    assert len(stores.pending) == 0


async def test_a_write_that_the_store_refuses_does_not_hold_up_the_others(
    server: EmbeddedValkey, stores: ResponseStores, caplog: pytest.LogCaptureFixture
) -> None:
    await server.stop()
    await stores.of("t").put(turn("a"))
    await stores.of("t").put(turn("b"))
    await server.start()
    await stores.store.call(stores.store.command("SET", "sluice:{t}:response:a", "of another type"))
    with caplog.at_level(logging.ERROR):
        await stores.flush()
    assert "pending write refused response=a" in caplog.text
    assert await stores.of("t").get("b") is not None


async def test_a_newer_record_that_comes_during_the_write_is_written_too(
    running: EmbeddedValkey, stores: ResponseStores
) -> None:
    stores.postpone("t", turn("a", text="old"))
    async with asyncio.TaskGroup() as tasks:
        await stores.store.call(stores.store.command("CLIENT", "PAUSE", 20_000, "WRITE"))
        tasks.create_task(stores.flush())
        await until(lambda: blocked_clients(stores.store))  # the old one's write is under way
        stores.postpone("t", turn("a", text="new"))
        await stores.store.call(stores.store.command("CLIENT", "UNPAUSE"))
    found = await stores.of("t").get("a")
    assert found is not None
    assert found.output_text == "new"


async def blocked_clients(store: Store) -> bool:
    info = await store.call(store.command("INFO", "clients"))
    return int(info["blocked_clients"]) > 0


async def test_the_repr_shows_the_state(stores: ResponseStores) -> None:
    assert repr(stores.of("t")) == "<ResponseStore t pending=0>"
