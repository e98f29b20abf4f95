"""The Autobahn cases against our server stack: the same protocol classes and settings, in front of an echo.

The cases judge what comes back, so the endpoint must echo; text goes out through the hub's `Wire`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from kosoku import FailureError, run_fuzzingclient
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.server import bind, make_server
from app.wire import WIRE
from tests.app.serving import config_for

pytestmark = pytest.mark.anyio

KNOWN_DEVIATIONS = {
    "7.1.5",  # a text message ends in an invalid way inside a fragment: the stack answers with another close code
}


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    wire = websocket.scope["extensions"][WIRE]
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is not None:
                await wire.wait_writable()
                wire.write([text.encode()])
            else:
                await websocket.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        return


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    config = config_for(tmp_path, max_body_bytes=64 << 20)
    listener = bind(config)
    server = make_server(config, Starlette(routes=[WebSocketRoute("/", echo)]))
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve([listener]))
        await server.listening.wait()
        yield f"ws://127.0.0.1:{server.port}"
        server.should_exit = True


@pytest.mark.timeout(600)
async def test_every_case_passes_but_the_known_one(address: str) -> None:
    passed, failed = await _played(address, exclude_cases=["12.*", "13.*"], concurrency=2)
    assert passed + len(failed) > 240  # compression is off, so its cases say nothing
    if (
        late := failed - KNOWN_DEVIATIONS
    ):  # a case gives an answer one second, which a busy machine may not have had
        _, failed = await _played(address, cases=[*late])
    assert failed <= KNOWN_DEVIATIONS


async def _played(address: str, **which: Any) -> tuple[int, set[str]]:
    """How many of these cases passed, and the names of the others."""
    try:
        results = await run_fuzzingclient(address, **which)
    except FailureError as failure:
        results = failure.results
    accepted = {"OK", "NON-STRICT", "INFORMATIONAL"}
    failed = {
        result.case_id
        for result in results
        if result.behavior.value not in accepted or result.behavior_close.value not in {"OK", "INFORMATIONAL"}
    }
    return len(results) - len(failed), failed
