"""A fault of ours ends one response, and neither the hub nor its neighbours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.ask import Ask
from engine.scripted import ScriptedEngine
from protocol.codes import ProtocolError
from protocol.events import ResponseCompleted, ResponseEvent
from protocol.limits import Limits
from protocol.requests.create import parse_create
from tests.app.dialects import take_turn
from tests.app.serving import KEY, Served, serving
from tests.app.test_turn import Broken

pytestmark = pytest.mark.anyio


class BrokenAtTheEnd(Broken):
    def offer(self, data: bytes, number: int, event: ResponseEvent | str) -> None:
        self.number = number if isinstance(event, ResponseCompleted) else -1
        super().offer(data, number, event)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(ScriptedEngine(tokens_per_s=200)) as server:
        yield server


async def ask(served: Served, reader: Broken) -> list[ProtocolError]:
    """Have the hub serve a reply to this reader; what it was refused with."""
    hub = served.service.hub
    refusals: list[ProtocolError] = []
    ended = asyncio.Event()
    create = parse_create({"input": "one two three", "store": False}, Limits(), socket=False)
    principal = await served.service.auth.authenticate(KEY)
    hub.start(Ask(create, principal), reader, on_refused=refusals.append, on_ended=ended.set)
    async with asyncio.timeout(10):
        await ended.wait()
    return refusals


@pytest.mark.parametrize("reader", [Broken(0), BrokenAtTheEnd(0)], ids=["beginning", "end"])
async def test_a_reader_that_raises_harms_itself_alone(
    served: Served, reader: Broken, caplog: pytest.LogCaptureFixture
) -> None:
    hub = served.service.hub
    neighbour = asyncio.create_task(take_turn(served, "json", "all is well"))
    refusals = await ask(served, reader)
    assert [error.code for error in refusals] == ([] if reader.events else ["internal_error"])
    assert "a reader must not raise" in caplog.text
    assert (await neighbour).text == "all is well"
    assert (await take_turn(served, "json", "and after")).text == "and after"
    await hub.wait_idle()
    assert "live=0" in repr(hub)
    stats = hub.engine.stats()
    assert (stats.running, stats.waiting, stats.pages_used) == (0, 0, 0)
