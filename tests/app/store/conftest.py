"""Real servers for the store's tests: the embedded Valkey, and Debian's redis-server started the same way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.store.client import Store
from app.store.responses import ResponseStores
from app.store.valkey import EmbeddedValkey
from scripts.external import find_redis_server

SERVERS = ["valkey", pytest.param("redis", marks=pytest.mark.redis_server)]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> EmbeddedValkey:
    """A store of each kind, not yet started."""
    if request.param == "valkey":
        return EmbeddedValkey(tmp_path)
    found = find_redis_server()
    assert found is not None
    return EmbeddedValkey(tmp_path, binary=Path(found))


@pytest.fixture
async def running(server: EmbeddedValkey) -> AsyncIterator[EmbeddedValkey]:
    async with server:
        yield server


@pytest.fixture
async def store(running: EmbeddedValkey) -> AsyncIterator[Store]:
    opened = Store(running.url)
    yield opened
    await opened.close()


@pytest.fixture
def stores(store: Store) -> ResponseStores:
    return ResponseStores(store, ttl_s=60, max_turns=100, pending_writes=3, pending_bytes=100_000)
