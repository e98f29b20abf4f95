"""Whatever the server sends and serves stands in its documents, and nothing else does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.routing import Route, WebSocketRoute

from app.main import create_app
from engine.scripted import ScriptedEngine
from protocol.asyncapi import asyncapi_document
from protocol.openapi import openapi_document
from tests.app.dialects import DIALECTS, client_of, limit_field, take_turn
from tests.app.policies import FORBIDDEN, NOTED, OUTPUT, rule, write_policy
from tests.app.serving import Served, serving
from tests.app.talk import talking
from tests.protocol.validation import validate, validate_event

pytestmark = pytest.mark.anyio

RULES = (FORBIDDEN, NOTED, rule("pii", "redact", OUTPUT, "my number"))


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def served(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    policy = write_policy(tmp_path_factory.mktemp("documents"), *RULES)
    async with serving(ScriptedEngine(split=list), policy=policy) as server:
        yield server


@pytest.fixture
async def client(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(served) as client:
        yield client


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("text", "fields", "end", "shown"),
    [
        ("Hello, world!", {}, "stop", "Hello, world!"),
        (
            'a "quoted"\n\tline \\ with \u2028 and 🦥\x00',
            {},
            "stop",
            'a "quoted"\n\tline \\ with \u2028 and 🦥\x00',
        ),
        ("one two", {"most": 3}, "length", "one"),
        ("all of it STOP not this", {"stop": ["STOP"]}, "stop", "all of it "),
        ("ab", {"ignore_eos": True, "most": 5}, "length", "ababa"),
        ("fine, forbidden phrase, gone", {}, "content_filter", "fine, "),
        ("a remarkable thing and my number", {}, "stop", "a remarkable thing and [redacted]"),
        ("x", {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1, "seed": 7}, "stop", "x"),
    ],
)
async def test_every_event_and_answer_of_a_turn_is_as_the_documents_say(
    served: Served, dialect: str, text: str, fields: dict[str, Any], end: str, shown: str
) -> None:
    """`take_turn` validates each; the dialects agree on what was shown and how it ended."""
    asked = {(limit_field(dialect) if name == "most" else name): value for name, value in fields.items()}
    outcome = await take_turn(served, dialect, text, **asked)
    assert (outcome.end, outcome.text) == (end, shown)


@pytest.mark.parametrize("dialect", ["chat-stream", "completion-stream"])
async def test_usage_comes_with_a_stream_that_asks_for_it(served: Served, dialect: str) -> None:
    with_usage = await take_turn(served, dialect, "hello", stream_options={"include_usage": True})
    whole = await take_turn(served, dialect.removesuffix("-stream"), "hello")
    assert with_usage.usage == whole.usage
    assert with_usage.usage is not None
    assert with_usage.usage["output"] == 5
    assert with_usage.items[-1]["choices"] == []
    assert (await take_turn(served, dialect, "hello")).usage is None


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_refusals_are_as_the_documents_say(served: Served, dialect: str) -> None:
    refusals: list[tuple[dict[str, Any], str, int]] = [
        ({"temperature": 3}, "invalid_value", 400),
        ({"moderation": {"model": "m"}}, "unsupported_parameter", 400),
        ({"colour": "red"}, "unsupported_parameter", 400),
        ({"model": "none"}, "model_not_found", 404),
    ]
    for fields, code, status in refusals:
        outcome = await take_turn(served, dialect, "x", **fields)
        assert (outcome.end, outcome.code, outcome.status) == ("refused", code, status)
        assert outcome.error["param"] == next(iter(fields))


async def test_a_warm_up_and_lanes_are_as_the_documents_say(served: Served) -> None:
    async with talking(served) as talk:
        for event in await talk.turn("warm", generate=False, stream_id="a.b-c_1"):
            validate_event(event)
            assert event["stream_id"] == "a.b-c_1"
        await talk.send(type="response.cancel", response_id="resp_none", stream_id="a.b-c_1")
        refusal = await talk.next()
        validate_event(refusal)
        assert (refusal["stream_id"], refusal["error"]["code"]) == ("a.b-c_1", "response_not_found")


async def test_every_other_answer_is_as_the_documents_say(client: httpx.AsyncClient) -> None:
    made = (await client.post("/v1/responses", json={"input": "hello"})).json()
    for method, path, body, schema in [
        ("GET", "/v1/models", None, "ModelList"),
        ("GET", "/v1/models/scripted", None, "Model"),
        ("POST", "/v1/responses/input_tokens", {"input": "hello"}, "InputTokensCounted"),
        ("GET", f"/v1/responses/{made['id']}", None, "Response"),
        ("GET", f"/v1/responses/{made['id']}/input_items", None, "InputItemList"),
        ("POST", f"/v1/responses/{made['id']}/cancel", None, "Response"),
        ("DELETE", f"/v1/responses/{made['id']}", None, "ResponseDeleted"),
        ("POST", "/v1/moderations", {"input": ["hello", "forbidden phrase"]}, "ModerationAnswer"),
        ("POST", "/v1/realtime/client_secrets", {}, "ClientSecret"),
        ("GET", "/healthz", None, "Health"),
        ("GET", "/readyz", None, "Readiness"),
        ("GET", "/v1/nothing", None, "ErrorAnswer"),
        ("PATCH", "/v1/responses", {}, "ErrorAnswer"),
        ("GET", "/v1/models/none", None, "ErrorAnswer"),
        ("POST", "/v1/moderations", {"input": 7}, "ErrorAnswer"),
        ("POST", "/v1/realtime/client_secrets", {"expires_after": 1}, "ErrorAnswer"),
    ]:
        answer = await client.request(method, path, json=body)
        validate(answer.content, schema)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"].startswith("req_")


async def test_the_documents_are_served_as_they_are(client: httpx.AsyncClient) -> None:
    assert (await client.get("/openapi.json")).json() == openapi_document()
    assert (await client.get("/asyncapi.json")).json() == asyncapi_document()
    metrics = await client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")


async def test_every_route_stands_in_the_document_and_the_other_way_round(served: Served) -> None:
    """The playground's files are no part of the interface."""
    routes = create_app(served.service).routes
    of_app: set[tuple[str, str]] = set()
    for route in routes:
        if isinstance(route, WebSocketRoute) and route.path == "/v1/responses":  # the other one refuses
            of_app.add((route.path, "get"))
        elif isinstance(route, Route) and route.path.startswith(("/v1", "/healthz", "/readyz", "/metrics")):
            of_app |= {
                (named(route.path), method.lower()) for method in route.methods or () if method != "HEAD"
            }
        elif isinstance(route, Route) and route.path in ("/openapi.json", "/asyncapi.json"):
            of_app.add((route.path, "get"))
    of_document = {
        (named(path), method)
        for path, operations in openapi_document()["paths"].items()
        for method in operations
        if method != "parameters"
    }
    assert of_app == of_document
    assert ("/v1/responses", "get") in of_app


def named(path: str) -> str:
    """A path with its variables called alike."""
    return path.replace("{model_id:path}", "{}").replace("{model}", "{}").replace("{response_id}", "{}")


async def test_an_operation_answers_only_with_what_it_announces(served: Served) -> None:
    """Every refusal that can be had without a body is one of the operation's own statuses."""
    async with httpx.AsyncClient(base_url=served.http) as stranger:
        for path, operations in openapi_document()["paths"].items():
            for method, operation in operations.items():
                if method == "parameters":
                    continue
                answer = await stranger.request(method, path.replace("{", "").replace("}", ""))
                announced = operation["responses"]
                assert str(answer.status_code) in announced, (method, path, answer.status_code)
