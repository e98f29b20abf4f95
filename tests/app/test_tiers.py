"""Who goes first: tiers within the queue, and places in it for every tenant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from engine.playback import Fault
from engine.request import EngineRequest
from engine.scripted import ScriptedEngine
from tests.app.dialects import DIALECTS, Outcome, client_of, take_turn
from tests.app.serving import Served, serving
from tests.app.talk import talking

pytestmark = pytest.mark.anyio


def stalls(request: EngineRequest) -> Fault | None:
    said = request.source if isinstance(request.source, str) else request.source[-1].content
    return Fault(0) if said == "stalls" else None


def busy_engine(max_waiting: int = 100) -> ScriptedEngine:
    """It runs one request at a time, and a reply takes long enough that none overtakes another on its way back."""
    return ScriptedEngine(100, max_running=1, max_waiting=max_waiting, faults=stalls)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(ScriptedEngine()) as server:
        yield server


def shown(outcome: Outcome) -> str | None:
    """The tier that a turn's last event, chunk or answer names."""
    last = [item for item in outcome.items if item.get("service_tier") or item.get("response")][-1]
    tier: str = last.get("response", last)["service_tier"]
    return tier


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_tier_that_was_used_is_shown(served: Served, dialect: str) -> None:
    for asked, used in (("flex", "flex"), ("priority", "priority"), ("auto", "default"), (None, "default")):
        outcome = await take_turn(served, dialect, "hi", service_tier=asked)
        assert (outcome.end, shown(outcome)) == ("stop", used)
    assert shown(await take_turn(served, dialect, "hi")) == "default"
    refused = await take_turn(served, dialect, "hi", service_tier="scale")
    assert (refused.end, refused.status, refused.error["param"]) == ("refused", 400, "service_tier")


async def test_a_key_that_a_page_shows_has_no_priority(served: Served) -> None:
    async with client_of(served) as client:
        key = (await client.post("/v1/realtime/client_secrets", json={})).json()["value"]
    page = replace(served, key=key)
    assert shown(await take_turn(page, "json", "hi", service_tier="priority")) == "default"
    assert shown(await take_turn(page, "json", "hi", service_tier="flex")) == "flex"


async def waiting(engine: ScriptedEngine, count: int) -> None:
    async with asyncio.timeout(10):
        while engine.stats().waiting < count:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_priority_request_overtakes_and_flex_yields(dialect: str) -> None:
    engine = busy_engine()
    order: list[str] = []
    async with serving(engine) as served, talking(served) as talk:
        await talk.create("stalls")
        first = (await talk.until("response.in_progress"))[0]["response"]["id"]

        async def ask(tier: str) -> None:
            assert (
                await take_turn(served, dialect, f"{tier} and then some", service_tier=tier)
            ).end == "stop"
            order.append(tier)

        async with asyncio.TaskGroup() as group:
            for count, tier in enumerate(("flex", "default", "priority"), start=1):
                group.create_task(ask(tier))
                await waiting(engine, count)
            await talk.send(type="response.cancel", response_id=first)
    assert order == ["priority", "default", "flex"]


async def test_a_tenants_flood_does_not_shut_out_another_tenant() -> None:
    engine = busy_engine(max_waiting=16)
    async with serving(engine) as served, talking(served) as talk:
        other = await served.service.auth.create_key("other", tenant="elsewhere")
        await talk.create("stalls")
        first = (await talk.until("response.in_progress"))[0]["response"]["id"]
        async with asyncio.TaskGroup() as group:
            flood = [group.create_task(take_turn(served, "chat", "mine")) for _ in range(20)]
            await waiting(engine, 14)
            elsewhere = replace(served, key=other.value)
            guest = group.create_task(take_turn(elsewhere, "chat", "a guest's"))
            await waiting(engine, 15)
            await talk.send(type="response.cancel", response_id=first)
    assert guest.result().text == "a guest's"
    ends = [turn.result().end for turn in flood]
    assert (ends.count("stop"), ends.count("refused")) == (14, 6)
    refused = next(turn.result() for turn in flood if turn.result().end == "refused")
    assert (refused.status, refused.code) == (503, "server_is_overloaded")
