"""The server's life in this process: signals, what they end, and in which order."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from app.main import create_app, running
from app.server import bind, make_server, serve
from app.settings import ConfigError
from engine.interface import Engine
from engine.scripted import ScriptedEngine
from engine.scripted_tokenizer import words
from tests.app.serving import Served, config_for, default_policy
from tests.app.talk import TERMINAL, Talk, talking
from tests.app.test_hostile_clients import RawSocket

pytestmark = pytest.mark.anyio

LONG = "word " * 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Living(Served):
    """A server that signals to this process end; `told` are the ports that it announced."""

    told: list[int]
    until_end: asyncio.Task[None]

    async def ended(self) -> None:
        async with asyncio.timeout(20):
            await self.until_end


@asynccontextmanager
async def living(folder: Path, engine: Engine | None = None, **settings: object) -> AsyncIterator[Living]:
    config = config_for(folder, **settings)
    async with running(config, engine, default_policy()) as (service, _):
        server = make_server(config, create_app(service))
        told: list[int] = []
        announced = asyncio.Event()

        async def announce(port: int) -> None:
            told.append(port)
            announced.set()

        task = asyncio.create_task(serve(server, service, bind(config), announce))
        async with asyncio.timeout(20):
            await announced.wait()
        served = Living(service, server, told=told, until_end=task)
        yield served
        await served.ended()


def send(number: int) -> None:
    """A signal to this process; its handler is asked for first, so that a test cannot end the tests."""
    assert signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler)
    os.kill(os.getpid(), number)


async def close_code(talk: Talk) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            await talk.next()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


async def test_sigterm_ends_an_idle_server_with_a_code_on_which_clients_come_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    async with living(tmp_path) as served:
        assert served.told == [served.server.port]
        address = served.http
        async with talking(served) as talk:
            send(signal.SIGTERM)
            assert await close_code(talk) == 1012
        await served.ended()
        async with httpx.AsyncClient(base_url=address) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("/healthz")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


async def test_while_it_drains_new_work_is_refused_and_running_work_ends(tmp_path: Path) -> None:
    async with living(tmp_path, ScriptedEngine(tokens_per_s=40)) as served:
        async with (
            talking(served) as talk,
            httpx.AsyncClient(base_url=served.http, headers=served.headers) as client,
        ):
            await talk.create("word " * 40, stream_id="running")
            await talk.until("response.output_text.delta", lane="running")
            send(signal.SIGTERM)
            async with asyncio.timeout(10):
                while not served.service.hub.draining:
                    await asyncio.sleep(0)
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.json()["hub"]) == (503, "draining")
            assert (await client.get("/healthz")).status_code == 200
            refused = await client.post("/v1/responses", json={"input": "late"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
            assert refused.headers["retry-after"] == "1"
            handshake = await client.get(
                "/v1/responses",
                headers={
                    "connection": "upgrade",
                    "upgrade": "websocket",
                    "sec-websocket-version": "13",
                    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
                },
            )
            assert (handshake.status_code, handshake.json()["error"]["code"]) == (503, "draining")
            assert (await talk.turn("late", stream_id="new"))[-1]["error"]["code"] == "draining"
            done = (await talk.until(*TERMINAL, lane="running"))[-1]
            assert done["response"]["output"][0]["content"][0]["text"] == "word " * 40
            assert await close_code(talk) == 1012


async def test_a_second_signal_hurries(tmp_path: Path) -> None:
    async with living(tmp_path, ScriptedEngine(tokens_per_s=10), drain_grace_s=600) as served:
        async with talking(served) as talk:
            await talk.create(LONG)
            await talk.until("response.output_text.delta")
            send(signal.SIGTERM)
            async with asyncio.timeout(10):
                while not served.service.hub.draining:
                    await asyncio.sleep(0)
            assert len(served.service.hub.connections) == 1
            send(signal.SIGINT)
            ended = (await talk.until(*TERMINAL))[-1]["response"]
            assert (ended["status"], ended["error"]["code"]) == ("cancelled", "draining")
            assert await close_code(talk) == 1012


async def test_work_that_cannot_be_ended_does_not_keep_the_server_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.server.CANCEL_WAIT_S", 0.1)
    entered, go_on = threading.Event(), threading.Event()

    def stuck(text: str) -> list[str]:
        entered.set()
        assert go_on.wait(30)
        return words(text)

    try:
        async with living(tmp_path, ScriptedEngine(split=stuck)) as served:
            async with talking(served) as talk:
                await talk.create("x" * 5000)  # long enough to be tokenised in a thread
                async with asyncio.timeout(10):
                    while not entered.is_set():
                        await asyncio.sleep(0.01)
                send(signal.SIGINT)
                assert await close_code(talk) == 1012
            await served.ended()
            go_on.set()
    finally:
        go_on.set()
    assert "did not end in time" in caplog.text


async def test_a_peer_that_never_answers_the_close_does_not_keep_the_server_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.transport.LINGER_S", 0.2)
    async with living(tmp_path) as served:
        socket = await RawSocket.open(served)
        send(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await socket.close_code() == 1012
        await served.ended()
        socket.vanish()


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} of 127\.0\.0\.1 is taken"):
            bind(config_for(tmp_path, port=port))


async def test_a_host_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no-such-host\.invalid"):
        bind(config_for(tmp_path, host="no-such-host.invalid"))


def test_connections_send_at_once_on_any_event_loop(tmp_path: Path) -> None:
    """They inherit it. asyncio leaves it out where a socket names no protocol, and what is small waits 40 ms."""
    with bind(config_for(tmp_path)) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
