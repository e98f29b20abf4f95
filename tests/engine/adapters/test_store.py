from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from engine.adapters.adapter import Adapter, AdapterError
from engine.adapters.files import checked_adapter
from engine.adapters.store import MAX_LOADS, AdapterLimits, AdapterStore
from engine.request import Finished, FinishReason, Output, Usage
from tests.engine.adapters.test_reader import tensors, write

pytestmark = pytest.mark.anyio

END = Finished(FinishReason.STOP, Usage())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "poet", tensors())


@pytest.fixture
def gone() -> list[Adapter]:
    return []


@pytest.fixture
def store(gone: list[Adapter]) -> AdapterStore:
    return AdapterStore(checked_adapter, AdapterLimits(count=2), gone.append)


def names(store: AdapterStore) -> list[str]:
    return [loan.adapter.name for loan in store]


async def test_what_is_loaded_can_be_found_and_what_is_unloaded_cannot(
    store: AdapterStore, folder: Path, gone: list[Adapter]
) -> None:
    poet, clerk = await store.load("poet", folder), store.load_now("clerk", folder)
    assert names(store) == ["clerk", "poet"]
    assert store.find("poet") is poet
    assert store.bytes == poet.bytes + clerk.bytes
    assert repr(store) == f"<AdapterStore loaded=2 leaving=0 bytes={store.bytes}>"
    assert store.unload("poet") is poet
    assert (gone, names(store), store.find("poet")) == ([poet], ["clerk"], None)
    assert store.unload("poet") is None


async def test_files_are_read_in_a_thread_one_after_the_other(folder: Path) -> None:
    threads: list[int] = []
    running: list[str] = []

    def read(name: str, path: Path, limit: int, now: int) -> Adapter:
        assert not running, "one at a time"
        running.append(name)
        threads.append(threading.get_ident())
        adapter = checked_adapter(name, path, limit, now)
        running.pop()
        return adapter

    store = AdapterStore(read, AdapterLimits(count=5))
    async with asyncio.TaskGroup() as group:
        for name in "abcde":
            group.create_task(store.load(name, folder))
    assert names(store) == list("abcde")
    assert threading.get_ident() not in threads


async def test_no_more_than_some_loads_wait(store: AdapterStore, folder: Path) -> None:
    loads = [asyncio.create_task(store.load(f"a{n}", folder)) for n in range(MAX_LOADS + 3)]
    results = await asyncio.gather(*loads, return_exceptions=True)
    refused = [str(result) for result in results if "wait to be loaded" in str(result)]
    assert len(refused) == 3
    assert len(store) == 2
    store.unload("a0")
    assert (await store.load("later", folder)).name == "later"


async def test_a_load_that_fails_leaves_nothing_and_lets_the_next_one_in(
    store: AdapterStore, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(AdapterError, match=r"adapter 'poet': .*nowhere"):
        await store.load("poet", tmp_path / "nowhere")
    assert (len(store), store.bytes) == (0, 0)
    assert (await store.load("poet", folder)).name == "poet"


async def test_a_name_that_is_taken_is_refused(store: AdapterStore, folder: Path) -> None:
    await store.load("poet", folder)
    with pytest.raises(AdapterError, match="adapter 'poet': one of that name is loaded; unload it first"):
        await store.load("poet", folder)


async def test_past_the_bound_the_one_that_is_idle_the_longest_is_named(
    store: AdapterStore, folder: Path
) -> None:
    first, second = store.load_now("first", folder), store.load_now("second", folder)
    store.lend(first, lambda output: None)(END)
    with pytest.raises(
        AdapterError, match=r"2 are loaded, which is the most; .* such as 'second', which is idle"
    ):
        await store.load("third", folder)
    store.lend(second, lambda output: None)
    with pytest.raises(AdapterError, match="such as 'first', which is idle"):
        await store.load("third", folder)
    store.lend(first, lambda output: None)
    with pytest.raises(AdapterError, match=r"which is the most; raise the bound$"):
        await store.load("third", folder)


async def test_memory_is_bounded_and_counts_those_that_leave(folder: Path) -> None:
    size = (folder / "adapter_model.safetensors").stat().st_size
    store = AdapterStore(checked_adapter, AdapterLimits(count=9, bytes=size * 3 // 2))
    poet = await store.load("poet", folder)
    ended = store.lend(poet, lambda output: None)
    store.unload("poet")
    with pytest.raises(AdapterError, match=f"has {size} bytes; there is room for {size // 2}"):
        await store.load("clerk", folder)
    ended(END)
    assert store.bytes == 0
    assert (await store.load("clerk", folder)).bytes == size


def test_what_is_larger_than_its_files_is_counted_as_it_is(folder: Path) -> None:
    def read(name: str, path: Path, limit: int, now: int) -> Adapter:
        return Adapter(name, "1f", 2, limit + 1, now)

    with pytest.raises(AdapterError, match="it takes 101 bytes; 100 of 100 are left; raise the bound"):
        AdapterStore(read, AdapterLimits(bytes=100)).load_now("poet", folder)


def test_an_unloaded_adapter_is_gone_when_its_last_request_has_ended(
    store: AdapterStore, folder: Path, gone: list[Adapter]
) -> None:
    poet = store.load_now("poet", folder)
    heard: list[Output] = []
    one, other = store.lend(poet, heard.append), store.lend(poet, heard.append)
    store.unload("poet")
    assert repr(store).startswith("<AdapterStore loaded=0 leaving=1")
    one("text")
    one(END)
    assert gone == []
    again = store.load_now("poet", folder)
    assert again is not poet
    other(END)
    assert gone == [poet]
    assert store.find("poet") is again
    assert heard == ["text", END, END]


def test_requests_are_counted(store: AdapterStore, folder: Path) -> None:
    poet = store.load_now("poet", folder)
    for _ in range(3):
        store.lend(poet, lambda output: None)(END)
    assert [(loan.requests, loan.users) for loan in store] == [(3, 0)]


async def test_a_load_that_is_cancelled_keeps_the_next_one_waiting_while_its_thread_reads(
    folder: Path,
) -> None:
    begun, go_on = threading.Semaphore(0), threading.Semaphore(0)
    reading: list[str] = []

    def read(name: str, path: Path, limit: int, now: int) -> Adapter:
        assert not reading, "one at a time"
        reading.append(name)
        begun.release()
        go_on.acquire()
        reading.remove(name)
        return checked_adapter(name, path, limit, now)

    store = AdapterStore(read, AdapterLimits(count=5))
    first = asyncio.create_task(store.load("first", folder))
    await asyncio.to_thread(begun.acquire)
    second = asyncio.create_task(store.load("second", folder))
    for _ in range(2):
        first.cancel()
        await asyncio.sleep(0)
    assert (first.done(), second.done(), reading) == (False, False, ["first"])
    go_on.release()
    with pytest.raises(asyncio.CancelledError):
        await first
    go_on.release()
    assert (await second).name == "second"
    assert names(store) == ["second"]


async def test_a_cancelled_load_whose_file_is_bad_is_cancelled(folder: Path) -> None:
    begun, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def read(name: str, path: Path, limit: int, now: int) -> Adapter:
        begun.release()
        go_on.acquire()
        raise AdapterError(name, "bad")

    load = asyncio.create_task(AdapterStore(read, AdapterLimits()).load("first", folder))
    await asyncio.to_thread(begun.acquire)
    load.cancel()
    await asyncio.sleep(0)
    go_on.release()
    with pytest.raises(asyncio.CancelledError):
        await load


async def test_a_store_that_closes_while_one_is_read_takes_it_in_no_more(folder: Path) -> None:
    begun, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def read(name: str, path: Path, limit: int, now: int) -> Adapter:
        begun.release()
        go_on.acquire()
        return checked_adapter(name, path, limit, now)

    store = AdapterStore(read, AdapterLimits())
    load = asyncio.create_task(store.load("first", folder))
    await asyncio.to_thread(begun.acquire)
    store.close()
    go_on.release()
    with pytest.raises(AdapterError, match="its model is served no more"):
        await load
    assert (len(store), store.bytes) == (0, 0)
