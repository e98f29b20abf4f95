"""Responses over HTTP whose callers hang up, at every stage, and faults that are nobody's but ours."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from app.main import create_app
from engine.playback import Fault
from engine.request import EngineError, EngineRequest
from engine.scripted import ScriptedEngine
from engine.scripted_tokenizer import words
from tests.app.dialects import DIALECTS, PATHS, STREAMS, body_of, client_of, take_turn
from tests.app.serving import Served, serving
from tests.app.talk import talking
from tests.protocol.validation import validate

pytestmark = pytest.mark.anyio

SLOW_INPUT = "stall " * 1000
"""Long enough to be tokenised in a thread; its reply never ends by itself."""


class Turnstile:
    """A tokenizer's split that lets long texts wait until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, text: str) -> list[str]:
        if len(text) >= len(SLOW_INPUT):
            self.reached.set()
            assert self.open.wait(30)
        return words(text)

    async def wait(self) -> None:
        async with asyncio.timeout(10):
            while not self.reached.is_set():
                await asyncio.sleep(0.005)


@pytest.fixture
def turnstile() -> Iterator[Turnstile]:
    turnstile = Turnstile()
    yield turnstile
    turnstile.open.set()


def stalls(request: EngineRequest) -> Fault | None:
    return Fault(2) if "stall" in str(request.source) else None


@pytest.fixture
async def served(turnstile: Turnstile) -> AsyncIterator[Served]:
    async with serving(ScriptedEngine(split=turnstile, max_running=1, faults=stalls)) as server:
        yield server


def post(client: httpx.AsyncClient, kind: str, text: str, **fields: Any) -> asyncio.Task[httpx.Response]:
    """A request under way; cancelling it hangs up."""
    body = body_of(kind, text) | fields
    return asyncio.create_task(client.post(PATHS.get(kind, "/v1/responses"), json=body))


async def hang_up(request: asyncio.Task[httpx.Response]) -> None:
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


async def left_nothing(served: Served) -> None:
    async with asyncio.timeout(10):
        await served.service.hub.wait_idle()
    stats = served.service.hub.engine.stats()
    assert (stats.running, stats.waiting, stats.pages_used) == (0, 0, 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["responses", "chat", "completion"])
async def test_hanging_up_before_the_response_began_ends_it(
    served: Served, turnstile: Turnstile, kind: str, stream: bool
) -> None:
    async with client_of(served) as client:
        request = post(client, kind, SLOW_INPUT, stream=stream)
        await turnstile.wait()
        await hang_up(request)
        async with asyncio.timeout(10):
            while served.server.server_state.connections:
                await asyncio.sleep(0.005)
        turnstile.open.set()
        await left_nothing(served)
        assert served.service.hub.engine.stats().finished.get("stop", 0) == 0
        assert (await take_turn(served, "json", "unharmed")).end == "stop"


@pytest.mark.parametrize("stream", [False, True])
async def test_hanging_up_while_it_waits_for_the_engine_ends_it(served: Served, stream: bool) -> None:
    engine = served.service.hub.engine
    async with client_of(served) as client, talking(served) as talk:
        await talk.create("words that stall")
        await talk.until("response.output_text.delta")
        request = post(client, "responses", "never said", stream=stream)
        async with asyncio.timeout(10):
            while engine.stats().waiting == 0:
                await asyncio.sleep(0.005)
        await hang_up(request)
        async with asyncio.timeout(10):
            while engine.stats().waiting:
                await asyncio.sleep(0.005)
        assert engine.stats().running == 1
    await left_nothing(served)


@pytest.mark.parametrize("stream", [False, True])
async def test_hanging_up_in_the_midst_of_the_text_ends_it(served: Served, stream: bool) -> None:
    async with client_of(served) as client:
        request = post(client, "responses", "words that stall", stream=stream)
        async with asyncio.timeout(10):
            while served.service.hub.engine.stats().generated_tokens < 2:
                await asyncio.sleep(0.005)
        await hang_up(request)
        await left_nothing(served)
        assert served.service.hub.engine.stats().finished["cancelled"] == 1


async def test_a_socket_that_closes_before_its_response_began_ends_it(
    served: Served, turnstile: Turnstile
) -> None:
    async with talking(served) as talk:
        await talk.create(SLOW_INPUT)
        await turnstile.wait()
    async with asyncio.timeout(10):
        while served.service.hub.connections:
            await asyncio.sleep(0.005)
    turnstile.open.set()
    await left_nothing(served)
    assert served.service.hub.engine.stats().prompt_tokens == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_server_that_gives_a_request_up_ends_its_response(
    served: Served, turnstile: Turnstile, stream: bool
) -> None:
    """As uvicorn does with what is left when its time to stop is over."""
    body = json.dumps({"input": SLOW_INPUT, "stream": stream}).encode()
    asked: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return asked.pop() if asked else await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        raise AssertionError(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/responses",
        "raw_path": b"/v1/responses",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {served.key}".encode())],
    }
    request = asyncio.create_task(create_app(served.service)(scope, receive, send))
    await turnstile.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    turnstile.open.set()
    await left_nothing(served)
    assert served.service.hub.engine.stats().prompt_tokens == 0


def broken(text: str) -> list[str]:
    if text.startswith("break"):
        raise ZeroDivisionError("a bug in the tokenizer, with words of the user")
    if text.startswith("refuse"):
        raise EngineError("invalid_value", "The template takes no such messages.")
    if text == "forget":
        raise ZeroDivisionError("a bug where the reply is kept")
    return words(text)


@pytest.fixture
async def buggy() -> AsyncIterator[Served]:
    async with serving(ScriptedEngine(split=broken)) as server:
        yield server


async def test_a_bug_before_the_response_began_is_told_in_every_dialect_and_harms_no_other(
    buggy: Served,
) -> None:
    for dialect in DIALECTS:
        outcome = await take_turn(buggy, dialect, "break here")
        assert (outcome.end, outcome.status, outcome.code) == ("refused", 500, "internal_error")
        assert "words of the user" not in str(outcome)
        assert (await take_turn(buggy, dialect, "unharmed")).text == "unharmed"
    assert buggy.service.hub.engine.stats().pages_used == 0


@pytest.mark.parametrize("dialect", ["socket", "json", "sse"])
async def test_a_reply_that_cannot_be_kept_has_failed_and_is_nowhere(buggy: Served, dialect: str) -> None:
    outcome = await take_turn(buggy, dialect, "forget that", max_output_tokens=1)
    assert outcome.code == "internal_error"
    if dialect != "json":
        assert (outcome.end, outcome.text) == ("failed", "forget")
        async with client_of(buggy) as client:
            answer = await client.get(f"/v1/responses/{outcome.items[0]['response']['id']}")
            assert answer.status_code == 404


@pytest.mark.parametrize("dialect", ["socket", "json", "sse"])
async def test_messages_that_a_model_cannot_take_are_refused_as_a_fault_of_the_input(
    buggy: Served, dialect: str
) -> None:
    outcome = await take_turn(buggy, dialect, "refuse this")
    assert (outcome.end, outcome.status, outcome.code) == ("refused", 400, "invalid_value")
    assert outcome.error["param"] == "input"


async def test_the_servers_own_life_is_none_of_the_requests(buggy: Served) -> None:
    """A server that speaks of its lifespan is answered, without a request's id."""
    heard: list[Any] = []
    told = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]

    async def receive() -> dict[str, Any]:
        return told.pop()

    async def send(message: Any) -> None:
        heard.append(message)

    await create_app(buggy.service)({"type": "lifespan", "app": None}, receive, send)
    assert heard == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]


async def test_a_bug_in_a_route_is_answered_in_the_one_shape(buggy: Served) -> None:
    async with client_of(buggy) as client:
        answer = await client.post("/v1/responses/input_tokens", json={"input": "break here"})
        assert answer.status_code == 500
        validate(answer.content, "ErrorAnswer")
        assert answer.json()["error"]["code"] == "internal_error"
        assert answer.headers["x-request-id"] == answer.json()["request_id"]
        assert "words of the user" not in answer.text
        assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("dialect", ["chat", "chat-stream", "completion", "completion-stream"])
async def test_a_reply_that_the_end_of_the_server_cuts_is_an_error_where_nothing_else_says_so(
    served: Served, dialect: str
) -> None:
    task = asyncio.create_task(take_turn(served, dialect, "stall here and there"))
    async with asyncio.timeout(10):
        while not served.service.hub.engine.stats().running:
            await asyncio.sleep(0.005)
        await served.service.hub.drain(0)
        outcome = await task
    assert outcome.code == "draining"
    assert outcome.status == (200 if dialect in STREAMS else 503)
