"""HTTPS and secure sockets with a certificate of one's own."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trustme
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app.running_server import NoServer, RunningServer
from app.settings import ConfigError
from engine.scripted import ScriptedEngine
from tests.app.dialects import sse_events
from tests.app.serving import Served, config_for, serving
from tests.app.talk import Talk, talking, text_of

pytestmark = pytest.mark.anyio


@dataclass(frozen=True, slots=True)
class Certificate:
    chain: Path
    key: Path
    trust: ssl.SSLContext


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for blob in issued.cert_chain_pems:
        blob.write_to_path(folder / "chain.pem", append=True)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return Certificate(folder / "chain.pem", folder / "key.pem", trust)


@pytest.fixture
async def served(certificate: Certificate) -> AsyncIterator[Served]:
    async with serving(
        ScriptedEngine(),
        ssl_certfile=certificate.chain,
        ssl_keyfile=certificate.key,
        slow_client_deadline_s=1.0,
        outbox_bytes=1 << 28,
    ) as server:
        yield server


def secure_socket(served: Served, certificate: Certificate) -> connect:
    return connect(
        served.ws.replace("ws:", "wss:") + "/v1/responses",
        additional_headers=served.headers | {"origin": served.http.replace("http:", "https:")},
        ssl=certificate.trust,
    )


async def test_turns_over_https_and_secure_sockets(served: Served, certificate: Certificate) -> None:
    base = served.http.replace("http:", "https:")
    async with httpx.AsyncClient(base_url=base, headers=served.headers, verify=certificate.trust) as client:
        assert (await client.get("/readyz")).status_code == 200
        body = {"input": "word " * 2000, "stream": True}
        events = sse_events((await client.post("/v1/responses", json=body)).text)
        assert text_of(events) == body["input"]
    async with secure_socket(served, certificate) as socket:
        talk = Talk(socket)
        for text in ("hello", "word " * 2000):
            assert text_of(await talk.turn(text)) == text


async def test_a_client_without_trust_or_without_tls_gets_nothing(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.http.replace("http:", "https:")) as stranger:
        with pytest.raises(httpx.ConnectError):
            await stranger.get("/healthz")
    async with httpx.AsyncClient(base_url=served.http) as plain:
        with pytest.raises(httpx.TransportError):
            await plain.get("/healthz")


async def test_a_client_that_never_reads_is_dropped_over_tls_too(
    served: Served, certificate: Certificate
) -> None:
    async with secure_socket(served, certificate) as stuck, secure_socket(served, certificate) as neighbour:
        talk = Talk(neighbour)
        stuck.transport.pause_reading()
        await flood(stuck)
        async with asyncio.timeout(60):
            while served.service.metrics.slow_clients._value.get() == 0:
                assert (await talk.turn("unharmed"))[-1]["type"] == "response.completed"
            await served.service.hub.wait_idle()
        assert (await talk.turn("unharmed"))[-1]["type"] == "response.completed"
        assert len(served.service.hub.connections) == 1
        stuck.transport.abort()


async def flood(socket: ClientConnection) -> None:
    """Ask for more text than the kernel's buffers hold."""
    with suppress(ConnectionClosed):  # it may be dropped before it has asked for all of that
        for number in range(16):
            lane = {
                "type": "response.create",
                "stream_id": f"lane-{number}",
                "input": ("x" * 200 + " ") * 5000,
            }
            await socket.send(json.dumps(lane))


def test_a_certificate_without_its_key_stops_the_start(tmp_path: Path, certificate: Certificate) -> None:
    with pytest.raises(ConfigError, match="--ssl-certfile and --ssl-keyfile belong together"):
        config_for(tmp_path, ssl_certfile=certificate.chain)


async def test_a_plain_server_speaks_no_tls(certificate: Certificate) -> None:
    async with serving() as served:
        with pytest.raises((OSError, EOFError, ConnectionError)):
            async with secure_socket(served, certificate):
                pass
        async with talking(served) as talk:
            assert (await talk.turn("unharmed"))[-1]["type"] == "response.completed"


async def test_a_command_trusts_the_certificate_of_the_server_that_it_was_led_to(
    served: Served, certificate: Certificate
) -> None:
    address = served.http.replace("http:", "https:")
    server = RunningServer(address, served.service.operator_key, str(certificate.chain))
    (entry,) = (await asyncio.to_thread(server.ask, "GET", "/v1/admin/models"))["data"]
    assert entry["id"] == "scripted"
    stranger = RunningServer(address, served.service.operator_key)
    with pytest.raises(NoServer, match="certificate verify failed"):
        await asyncio.to_thread(stranger.ask, "GET", "/v1/admin/models")
