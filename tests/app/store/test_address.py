"""Every form of address: what is refused, and that a cluster and a Sentinel's master really serve."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.store.address import _hosts
from app.store.client import Store, StoreUnavailable
from app.store.record import StoredResponse
from app.store.responses import ResponseStores
from app.store.valkey import find_binary
from tests.app.store.waiting import until

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("http://localhost", "must begin with"),
        ("localhost:6379", "must begin with"),
        ("", "must begin with"),
        ("redis+sentinel://localhost:26379", "master's name"),
        ("redis+sentinel:///mymaster", "host is missing"),
        ("redis+cluster://", "host is missing"),
        ("redis+cluster://localhost:port", "invalid literal"),
        ("redis://localhost:port", "Port could not be cast"),
    ],
)
async def test_an_address_of_no_known_form_is_refused(address: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Store(address)


def free_port() -> int:
    """Below 50000, since a cluster's bus is 10,000 ports above."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port < 50_000:
            return port


@contextmanager
def running(folder: Path, *options: str) -> Iterator[int]:
    """The shipped server on a loopback port, with `options` after its own."""
    port = free_port()
    folder.mkdir()
    conf = folder / "server.conf"  # a Sentinel writes to its own
    conf.write_text(f"port {port}\nbind 127.0.0.1\ndir {folder}\nlogfile server.log\n" + "\n".join(options))
    mode = ["--sentinel"] if any("sentinel" in option for option in options) else []
    with subprocess.Popen([find_binary(), conf, *mode], start_new_session=True) as process:
        try:
            yield port
        finally:
            process.kill()


async def connected(address: str) -> Store:
    store = Store(address)
    await until(lambda: _answers(store))
    return store


async def _answers(store: Store) -> bool:
    try:
        await store.ping()
    except StoreUnavailable:
        return False
    return True


async def round_trip(store: Store) -> None:
    """A turn, its follow-up, their lineage and a deletion."""
    stores = ResponseStores(store, ttl_s=60, max_turns=10, pending_writes=1, pending_bytes=1)
    mine = stores.of("tenant")
    for id, parent in (("a", None), ("b", "a")):
        assert await mine.put(
            StoredResponse(id=id, created_at=1, model="m", response=b"{}", parent_id=parent)
        )
    assert [record.id for record in (await mine.lineage("b")).records] == ["a", "b"]
    assert await mine.delete("a")
    assert (await mine.lineage("b")).missing == "a"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[str]:
    with running(tmp_path / "node", "cluster-enabled yes", "requirepass secret") as port:
        plain = await connected(f"redis://:secret@127.0.0.1:{port}")
        await plain.call(plain.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383))

        async def formed() -> bool:
            return b"cluster_state:ok" in bytes(
                await plain.call(plain.command("EVAL", "return redis.call('CLUSTER','INFO')", 0))
            )

        await until(formed)
        await plain.close()
        yield f"redis+cluster://:secret@127.0.0.1:{port}"


async def test_a_cluster_serves(cluster: str) -> None:
    store = await connected(cluster)
    await round_trip(store)
    await store.close()


async def test_a_sentinels_master_serves(tmp_path: Path) -> None:
    with running(tmp_path / "master") as master:
        monitor = f"sentinel monitor mymaster 127.0.0.1 {master} 1"
        with running(tmp_path / "sentinel", monitor) as port:
            store = await connected(f"redis+sentinel://127.0.0.1:{port}/mymaster")
            await round_trip(store)
            await store.close()


@pytest.mark.parametrize(
    "form", ["redis://127.0.0.1:1", "redis+cluster://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/m"]
)
async def test_a_store_that_is_not_there_has_the_same_name_in_every_form(form: str) -> None:
    store = Store(form)
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(store.ping(), 30)
    await store.close()


async def test_hosts_without_a_port_get_the_usual_one() -> None:
    assert _hosts(urlsplit("redis+cluster://user:pass@one,two:7000"), 6379) == [("one", 6379), ("two", 7000)]
