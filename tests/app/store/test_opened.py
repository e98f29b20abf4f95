"""The store for a command line tool: beside a running server, and without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.store.opened import opened_store
from app.store.probe import ask
from app.store.valkey import EmbeddedValkey, EmbeddedValkeyError

pytestmark = pytest.mark.anyio


async def test_beside_a_running_server_its_store_is_used_and_left_running(tmp_path: Path) -> None:
    async with EmbeddedValkey(tmp_path) as server:
        pid = server.pid
        async with opened_store(None, tmp_path) as store:
            await store.call(store.command("SET", "a", "b"))
        async with opened_store(None, tmp_path) as store:
            assert await store.call(store.command("GET", "a")) == b"b"
        assert server.pid == pid


async def test_without_a_server_a_store_runs_for_the_moment(tmp_path: Path) -> None:
    async with opened_store(None, tmp_path) as store:
        await store.call(store.command("SET", "a", "b"))
    assert await ask(tmp_path / "valkey" / "valkey.sock", b"PING") is None
    async with EmbeddedValkey(tmp_path), opened_store(None, tmp_path) as store:
        assert await store.call(store.command("GET", "a")) == b"b"


async def test_a_store_that_is_named_is_used_and_nothing_started(tmp_path: Path) -> None:
    async with (
        EmbeddedValkey(tmp_path / "theirs") as theirs,
        opened_store(theirs.url, tmp_path / "ours") as store,
    ):
        await store.ping()
    assert not (tmp_path / "ours").exists()


async def test_a_store_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedValkeyError):
        async with opened_store(None, tmp_path / "file"):
            pass
    with pytest.raises(ValueError, match="must begin with"):
        async with opened_store("nonsense", tmp_path):
            pass
