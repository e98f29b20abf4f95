"""The engine refuses, fails, stalls or is full: every dialect says so by name, and no neighbour is harmed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from engine.playback import Fault
from engine.request import EngineError, EngineRequest
from engine.scripted import ScriptedEngine
from tests.app.dialects import DIALECTS, STREAMS, client_of, take_turn
from tests.app.serving import Served, serving
from tests.app.talk import TERMINAL, talking

pytestmark = pytest.mark.anyio

FAULTS = {
    "breaks": Fault(0, RuntimeError("a reason of the engine's own")),
    "breaks after three words": Fault(2, RuntimeError("a reason of the engine's own")),
    "stalls": Fault(0),
    "stalls after three words": Fault(2),
    "overloads": Fault(refuse=EngineError("server_is_overloaded", "Full.", retry_after_s=6.5)),
    "loads": Fault(refuse=EngineError("model_loading", "Not yet.")),
}


def said(request: EngineRequest) -> str:
    return request.source if isinstance(request.source, str) else request.source[-1].content


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def served(anyio_backend: str) -> AsyncIterator[Served]:
    engine = ScriptedEngine(faults=lambda request: FAULTS.get(said(request)))
    async with serving(engine, first_token_timeout_s=0.5, total_timeout_s=1.0) as server:
        yield server


@pytest.fixture
async def unharmed(served: Served) -> AsyncIterator[None]:
    """A neighbour speaks while the fault happens, and nothing is left of anything afterwards."""
    neighbours = [asyncio.create_task(take_turn(served, dialect, "all is well")) for dialect in DIALECTS]
    yield
    for neighbour in neighbours:
        assert (await neighbour).text == "all is well"
    async with asyncio.timeout(10):
        await served.service.hub.wait_idle()
    assert served.service.hub.engine.stats().pages_used == 0


@pytest.mark.parametrize(
    ("text", "code", "status"),
    [
        ("breaks", "model_error", 500),
        ("breaks after three words", "model_error", 500),
        ("stalls", "first_token_timeout", 504),
        ("stalls after three words", "request_timeout", 408),
    ],
)
@pytest.mark.usefixtures("unharmed")
async def test_a_response_that_fails_is_told_by_name(
    served: Served, text: str, code: str, status: int
) -> None:
    outcomes = await asyncio.gather(*(take_turn(served, dialect, text) for dialect in DIALECTS))
    for dialect, outcome in zip(DIALECTS, outcomes, strict=True):
        assert outcome.code == code, dialect
        assert "own" not in outcome.error["message"]  # what the engine's exception says is not for clients
        if dialect in STREAMS:  # it had begun, and what was shown stays
            shown = " ".join(text.split()[:2]) if "after" in text else ""
            assert (outcome.end, outcome.text) == ("failed", shown)
        else:
            assert (outcome.end, outcome.status) == ("refused", status)


@pytest.mark.usefixtures("unharmed")
async def test_a_failed_response_can_be_read_and_continued(served: Served) -> None:
    async with talking(served) as talk, client_of(served) as client:
        failed = (await talk.turn("breaks after three words"))[-1]["response"]
        assert (failed["status"], failed["output"][0]["status"]) == ("failed", "incomplete")
        assert (await client.get(f"/v1/responses/{failed['id']}")).json() == failed
        again = (await talk.turn("go on", previous_response_id=failed["id"]))[-1]
        assert again["type"] == "response.completed"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.usefixtures("unharmed")
async def test_a_refusal_says_when_to_come_back(served: Served, dialect: str) -> None:
    outcome = await take_turn(served, dialect, "overloads")
    assert (outcome.end, outcome.code, outcome.status) == ("refused", "server_is_overloaded", 503)
    assert outcome.headers["retry-after"] == "7"
    assert outcome.headers["retry-after-ms"] == "6500"
    outcome = await take_turn(served, dialect, "loads")
    assert (outcome.code, outcome.status, outcome.headers["retry-after"]) == ("model_loading", 503, "1")


def one_at_a_time(max_waiting: int) -> ScriptedEngine:
    return ScriptedEngine(
        max_running=1, max_waiting=max_waiting, faults=lambda request: FAULTS.get(said(request))
    )


async def test_past_the_bound_requests_are_refused_and_the_waiting_one_is_served() -> None:
    async with serving(one_at_a_time(max_waiting=1)) as served, talking(served) as talk:
        await talk.create("stalls", stream_id="first")
        first = (await talk.until("response.in_progress", lane="first"))[0]["response"]["id"]
        await talk.create("patience", stream_id="second")
        waiting = await talk.until("response.queued", lane="second")
        assert [event["type"] for event in waiting] == ["response.created", "response.queued"]
        assert waiting[1]["response"]["status"] == "queued"
        for dialect in DIALECTS:
            third = await take_turn(served, dialect, "too many")
            assert (third.end, third.code, third.status) == ("refused", "server_is_overloaded", 503)
            assert int(third.headers["retry-after"]) >= 1
        await talk.send(type="response.cancel", response_id=first)
        assert (await talk.until(*TERMINAL, lane="first"))[-1]["response"]["status"] == "cancelled"
        second = await talk.until(*TERMINAL, lane="second")
        assert second[0]["type"] == "response.in_progress"
        assert second[-1]["type"] == "response.completed"


async def test_a_request_that_waits_is_served_in_the_end_in_every_dialect() -> None:
    engine = one_at_a_time(max_waiting=100)
    async with serving(engine) as served, talking(served) as talk:
        await talk.create("stalls")
        created = (await talk.until("response.in_progress"))[0]
        asked = [asyncio.create_task(take_turn(served, dialect, "patience")) for dialect in DIALECTS]
        async with asyncio.timeout(10):
            while engine.stats().waiting < len(DIALECTS):
                await asyncio.sleep(0.01)
        await talk.send(type="response.cancel", response_id=created["response"]["id"])
        for dialect, outcome in zip(DIALECTS, await asyncio.gather(*asked), strict=True):
            assert (outcome.end, outcome.text) == ("stop", "patience")
            kinds = [item["type"] for item in outcome.items if "type" in item]
            assert ("response.queued" in kinds) == (dialect in ("socket", "sse"))


async def test_a_waiting_turn_can_be_cancelled_before_it_begins() -> None:
    async with serving(one_at_a_time(max_waiting=1)) as served, talking(served) as talk:
        await talk.create("stalls", stream_id="first")
        await talk.until("response.in_progress", lane="first")
        await talk.create("never said", stream_id="second")
        waiting = await talk.until("response.queued", lane="second")
        await talk.send(type="response.cancel", response_id=waiting[0]["response"]["id"])
        (last,) = await talk.until(*TERMINAL, lane="second")
        assert (last["type"], last["response"]["status"]) == ("response.incomplete", "cancelled")
        assert last["response"]["output"] == []
