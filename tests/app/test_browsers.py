"""What a browser brings: its page's origin, a key that travels as a subprotocol, and preflights."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from app.main import create_app
from tests.app.dialects import client_of
from tests.app.serving import Served, serving

pytestmark = pytest.mark.anyio

CARRIER = "openai-insecure-api-key."
PAGE = "https://chat.example"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def served(anyio_backend: str) -> AsyncIterator[Served]:
    async with serving(cors_origins=f"{PAGE},http://other.example:8080") as server:
        yield server


@pytest.fixture(scope="module")
async def closed(anyio_backend: str) -> AsyncIterator[Served]:
    """No origin is allowed but its own."""
    async with serving() as server:
        yield server


async def ephemeral(served: Served) -> str:
    async with client_of(served) as client:
        made = (await client.post("/v1/realtime/client_secrets", json={})).json()
    return str(made["value"])


async def shake(served: Served, key: str | None = None, **headers: str) -> Response:
    """A handshake's answer, 101 or a refusal. `protocols` are subprotocols, a space between."""
    protocols: Any = headers.pop("protocols", "").split() or None
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        sent["authorization"] = f"Bearer {key}"
    try:
        async with connect(
            served.ws + "/v1/responses", additional_headers=sent, subprotocols=protocols
        ) as ws:
            await ws.send('{"type":"response.create","input":"hi"}')
            assert json.loads(await ws.recv())["type"] == "response.created"
            assert ws.response is not None
            return ws.response
    except InvalidStatus as refused:
        return refused.response


def code_of(answer: Response) -> str:
    return str(json.loads(answer.body)["error"]["code"])


@pytest.mark.parametrize("origin", [PAGE, "http://other.example:8080"])
async def test_a_page_of_a_configured_origin_may_connect(served: Served, origin: str) -> None:
    assert (await shake(served, served.key, origin=origin)).status_code == 101


async def test_a_page_of_our_own_may_connect(closed: Served) -> None:
    assert (await shake(closed, closed.key, origin=closed.http)).status_code == 101


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "http://127.0.0.1:1",
        "https://chat.example.evil.example",
        "http://[",
    ],
)
async def test_any_other_page_is_refused_by_name(served: Served, closed: Served, origin: str) -> None:
    for server in (served, closed):
        answer = await shake(server, server.key, origin=origin)
        assert (answer.status_code, code_of(answer)) == (403, "origin_not_allowed")


async def test_a_star_allows_every_page() -> None:
    async with serving(cors_origins="*") as served:
        assert (await shake(served, served.key, origin="https://any.example")).status_code == 101
        async with client_of(served) as client:
            answer = await client.get("/v1/models", headers={"origin": "https://any.example"})
            assert answer.headers["access-control-allow-origin"] == "*"


async def test_a_stranger_is_not_told_whether_its_page_is_allowed(served: Served) -> None:
    answer = await shake(served, "wrong", origin="https://evil.example")
    assert (answer.status_code, code_of(answer)) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("sluice.v1.json {key}", "sluice.v1.json"),
        ("realtime {key}", "realtime"),
        ("{key} realtime sluice.v1.json", "sluice.v1.json"),
        ("{key}", None),
        ("unknown {key}", None),
    ],
)
async def test_a_key_that_travels_as_subprotocol_is_never_echoed(
    served: Served, offered: str, chosen: str | None
) -> None:
    key = await ephemeral(served)
    answer = await shake(served, protocols=offered.format(key=CARRIER + key))
    assert answer.status_code == 101
    assert answer.headers.get("sec-websocket-protocol") == chosen
    assert key not in str(answer.headers)


@pytest.mark.parametrize("carried", ["KEY", "ek_nonsense", "", "sluice_live_x"])
async def test_only_a_short_lived_key_may_travel_as_subprotocol(served: Served, carried: str) -> None:
    carried = carried.replace("KEY", served.key)
    answer = await shake(served, protocols=f"sluice.v1.json {CARRIER}{carried}")
    assert (answer.status_code, code_of(answer)) == (401, "invalid_api_key")
    assert "sec-websocket-protocol" not in answer.headers
    assert not carried or carried not in answer.body.decode()


async def test_a_header_counts_before_a_subprotocol(served: Served) -> None:
    key = CARRIER + await ephemeral(served)
    assert (await shake(served, served.key, protocols=f"{CARRIER}nonsense")).status_code == 101
    assert (await shake(served, "wrong", protocols=key)).status_code == 401


async def test_a_key_without_the_right_to_write_opens_no_socket(served: Served) -> None:
    reader = await served.service.auth.create_key("reader", role="read-only")
    answer = await shake(served, reader.value)
    assert (answer.status_code, code_of(answer)) == (403, "insufficient_scope")
    maker = await served.service.auth.authenticate(reader.value)
    carried = served.service.auth.mint_ephemeral(maker).value
    answer = await shake(served, protocols=CARRIER + carried)
    assert (answer.status_code, code_of(answer)) == (403, "insufficient_scope")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"sec-websocket-version": "12"}, 400),
        ({"sec-websocket-key": "short"}, 400),
        ({"connection": "keep-alive"}, 405),
    ],
)
async def test_a_malformed_handshake_is_an_http_answer(
    served: Served, changes: dict[str, str], status: int
) -> None:
    headers = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with client_of(served) as client:
        answer = await client.get("/v1/responses", headers=headers | changes)
        assert answer.status_code == status
    assert (await shake(served, served.key)).status_code == 101


async def test_a_preflight_of_a_configured_origin_is_answered(served: Served) -> None:
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    async with httpx.AsyncClient(base_url=served.http) as client:
        answer = await client.options("/v1/responses", headers={"origin": PAGE} | asked)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "authorization" in answer.headers["access-control-allow-headers"]
        assert "DELETE" in answer.headers["access-control-allow-methods"]
        assert answer.headers["x-request-id"].startswith("req_")
        answer = await client.options("/v1/responses", headers={"origin": "https://evil.example"} | asked)
        assert "access-control-allow-origin" not in answer.headers


async def test_answers_and_refusals_are_readable_for_configured_origins_alone(
    served: Served, closed: Served
) -> None:
    for server, origin, allowed in [
        (served, PAGE, PAGE),
        (served, "https://evil.example", None),
        (closed, PAGE, None),
    ]:
        async with client_of(server, follow_redirects=False) as client:
            for path, status in [("/v1/models", 200), ("/v1/models/none", 404), ("/nothing", 404)]:
                answer = await client.get(path, headers={"origin": origin})
                assert answer.status_code == status
                assert answer.headers.get("access-control-allow-origin") == allowed
            answer = await client.get(
                "/v1/models", headers={"origin": origin, "authorization": "Bearer wrong"}
            )
            assert answer.headers.get("access-control-allow-origin") == allowed
            if allowed is not None:
                assert "x-request-id" in answer.headers["access-control-expose-headers"]


async def test_an_allowed_page_may_ask_in_every_way_that_a_route_has(served: Served) -> None:
    methods = {
        way for route in create_app(served.service).routes for way in getattr(route, "methods", ()) or ()
    }
    async with client_of(served) as client:
        for method in sorted(methods - {"HEAD", "OPTIONS"}):
            asked = {"origin": PAGE, "access-control-request-method": method}
            assert (await client.options("/v1/models", headers=asked)).status_code == 200, method
