"""Redis goes and comes back: what runs finishes, what cannot be kept is refused by name, nothing hangs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app.store.valkey import EmbeddedValkey
from engine.scripted import ScriptedEngine
from tests.app.serving import Served, serving
from tests.app.talk import talking, text_of

pytestmark = pytest.mark.anyio

TEXT = "word " * 30


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    async with EmbeddedValkey(tmp_path / "store") as valkey:
        yield valkey


@pytest.fixture
async def served(store: EmbeddedValkey) -> AsyncIterator[Served]:
    async with serving(ScriptedEngine(tokens_per_s=30), redis_url=store.url) as server:
        yield server


async def test_a_store_that_stops_answering_is_named_and_recovers(
    served: Served, store: EmbeddedValkey
) -> None:
    """SIGSTOP is the worst case: connections stay open and nothing answers."""
    assert store.pid is not None
    async with (
        httpx.AsyncClient(base_url=served.http, headers=served.headers, timeout=20) as client,
        talking(served) as talk,
    ):
        await talk.create(TEXT, stream_id="running")
        await talk.until("response.output_text.delta", lane="running")
        os.kill(store.pid, signal.SIGSTOP)
        try:
            ready = await client.get("/readyz")
            assert ready.status_code == 503
            assert ready.json()["store"] == "unavailable"
            refused = await client.post("/v1/responses", json={"input": "x"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
            assert "retry-after" in refused.headers
            on_socket = (await talk.turn("x", stream_id="new"))[-1]
            assert on_socket["error"]["code"] == "store_unavailable"
            unstored = (await talk.turn("unstored works", stream_id="new", store=False))[-1]
            assert unstored["type"] == "response.completed"
            ended = await talk.until("response.completed", lane="running")
            response = ended[-1]["response"]
            assert response["output"][0]["content"][0]["text"] == TEXT
            # it waits in memory and can be read and continued before the store is back
            assert (await client.get(f"/v1/responses/{response['id']}")).json() == response
        finally:
            os.kill(store.pid, signal.SIGCONT)
        async with asyncio.timeout(20):
            while (await client.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.05)
            while len(served.service.hub.stores.pending):
                await asyncio.sleep(0.05)
        child = (await talk.turn("more", previous_response_id=response["id"]))[-1]
        assert child["type"] == "response.completed"
        assert text_of(await talk.turn("stored again")) == "stored again"
