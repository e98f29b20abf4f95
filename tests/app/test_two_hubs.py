"""Two hubs on one store: a conversation goes on wherever its next turn arrives."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from app.store.valkey import EmbeddedValkey
from tests.app.serving import Served, serving
from tests.app.talk import Talk, talking

pytestmark = pytest.mark.anyio


async def follow_up(talk: Talk, parent: str) -> int:
    """How many tokens the context of a next turn has."""
    response = (await talk.turn("and now?", previous_response_id=parent))[-1]["response"]
    return int(response["usage"]["input_tokens"])


async def retrieved(served: Served, response_id: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=served.http, headers=served.headers) as client:
        return await client.get(f"/v1/responses/{response_id}")


async def test_any_hub_continues_forks_and_deletes_what_another_made(tmp_path: Path) -> None:
    async with (
        EmbeddedValkey(tmp_path / "store") as valkey,
        serving(redis_url=valkey.url, key_pepper="the same pepper on every hub") as one,
        serving(redis_url=valkey.url, key_pepper="the same pepper on every hub") as two,
        talking(one) as here,
        talking(two) as there,
    ):
        first = (await here.turn("one two three"))[-1]["response"]
        second = (await there.turn("four five", previous_response_id=first["id"]))[-1]["response"]
        assert second["usage"]["input_tokens"] > first["usage"]["total_tokens"]
        assert await follow_up(here, second["id"]) == await follow_up(there, second["id"])
        assert (await retrieved(one, second["id"])).json() == second
        async with httpx.AsyncClient(base_url=two.http, headers=two.headers) as client:
            assert (await client.delete(f"/v1/responses/{first['id']}")).status_code == 200
        refused = (await here.turn("more", previous_response_id=second["id"]))[-1]
        assert refused["error"]["code"] == "previous_response_not_found"
        assert first["id"] in refused["error"]["message"]
        made = await one.service.auth.create_key("shared")
        assert (await two.service.auth.authenticate(made.value)).key_id == made.record.id
