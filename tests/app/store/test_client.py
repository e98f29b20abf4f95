"""The connection to the store: one name for every failure, a time limit on every call, recovery by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from redis import exceptions as faults

from app.store.client import Store, StoreUnavailable
from app.store.valkey import EmbeddedValkey
from tests.app.store.waiting import until

pytestmark = pytest.mark.anyio


async def test_a_store_that_answers_is_healthy(store: Store) -> None:
    await store.ping()
    assert store.healthy
    assert repr(store) == "<Store healthy>"


async def test_a_store_that_was_never_there(tmp_path: Path) -> None:
    store = Store(f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(StoreUnavailable) as caught:
        await store.ping()
    assert (caught.value.code, caught.value.info.status, caught.value.retry_after_s) == (
        "store_unavailable",
        503,
        1.0,
    )
    assert not store.healthy
    assert "nobody.sock" in caught.value.reason
    assert "nobody.sock" not in caught.value.message  # a client is told nothing of our folders
    assert "nobody.sock" in repr(store)
    await store.close()


async def test_it_recovers_by_itself_when_the_store_is_back(
    server: EmbeddedValkey, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await store.call(store.command("SET", "kept", "x"))
    await server.stop()
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await store.call(store.command("GET", "kept"))
    await server.start()
    assert await store.call(store.command("GET", "kept")) == b"x"
    assert store.healthy
    assert caplog.text.count("store unavailable") == 1  # a loss is logged once, not once a call
    assert caplog.text.count("store recovered") == 1


async def test_a_restart_between_two_calls_goes_unnoticed(server: EmbeddedValkey, store: Store) -> None:
    await store.call(store.command("SET", "kept", "x"))
    await server.stop()
    await server.start()
    assert await store.call(store.command("GET", "kept")) == b"x"  # the idle connection was dead


async def test_calls_under_way_fail_when_the_store_is_killed(server: EmbeddedValkey, store: Store) -> None:
    waiting = [asyncio.ensure_future(store.call(store.command("BLPOP", f"q{n}", 0))) for n in range(20)]
    patient = Store(server.url, command_timeout_s=60)  # fails by the loss, not by the time limit
    blocked = asyncio.ensure_future(patient.call(patient.command("BLPOP", "q", 0)))
    await until(lambda: _blocked(store, 21))
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    outcomes = await asyncio.gather(*waiting, blocked, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    await patient.close()


async def _blocked(store: Store, count: int) -> bool:
    info = await store.call(store.command("INFO", "clients"))
    return int(info["blocked_clients"]) == count


async def test_a_store_that_hangs_costs_no_more_than_the_time_limit(running: EmbeddedValkey) -> None:
    store = Store(running.url, command_timeout_s=0.1)
    await store.ping()
    assert running.pid is not None
    os.kill(running.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            await store.ping()
        with pytest.raises(StoreUnavailable):  # and so does a new connection
            await store.ping()
    finally:
        os.kill(running.pid, signal.SIGCONT)
    await until(lambda: _answers(store))
    await store.close()


async def _answers(store: Store) -> bool:
    try:
        await store.ping()
    except StoreUnavailable:
        return False
    return True


async def test_more_calls_than_connections_all_get_an_answer(store: Store) -> None:
    calls = (store.call(store.command("INCR", "count")) for _ in range(500))
    assert sorted(await asyncio.gather(*calls)) == list(range(1, 501))


async def test_a_full_store_is_unavailable_and_not_our_fault(store: Store) -> None:
    await store.call(store.command("CONFIG", "SET", "maxmemory", 1))
    with pytest.raises(StoreUnavailable, match="reached"):
        await store.call(store.command("SET", "a", "b"))
    with pytest.raises(StoreUnavailable):
        await store.call(store.eval("return redis.call('SET', KEYS[1], 'b')", ["a"]))


async def test_a_wrong_password_is_unavailable_and_not_our_fault(
    running: EmbeddedValkey, store: Store
) -> None:
    await store.call(store.command("CONFIG", "SET", "requirepass", "secret-word"))
    stranger = Store(running.url)
    with pytest.raises(StoreUnavailable):
        await stranger.ping()
    await stranger.close()


async def test_a_fault_of_ours_is_not_called_unavailable(store: Store) -> None:
    await store.call(store.command("SET", "text", "x"))
    with pytest.raises(faults.ResponseError):
        await store.call(store.command("HGET", "text", "field"))
    with pytest.raises(faults.DataError):
        await store.call(store.command("SET", "key", {"a": "dict"}))  # type: ignore[arg-type]
    assert store.healthy


async def test_a_cancelled_call_leaves_the_connection_usable(store: Store) -> None:
    call = asyncio.ensure_future(store.call(store.command("BLPOP", "nothing", 0)))
    await until(lambda: _blocked(store, 1))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert store.healthy
    assert await store.call(store.command("ECHO", "still in step")) == b"still in step"
