"""A plain WebSocket client for tests: it sends JSON and reads events, and knows nothing of the server's code."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.app.serving import Served

Event = dict[str, Any]
TERMINAL = {"response.completed", "response.incomplete", "response.failed"}


class Talk:
    """One socket. `events` are all that came so far, in order."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[Event] = []
        self._waiting: defaultdict[str | None, deque[Event]] = defaultdict(deque)

    async def send(self, **event: Any) -> None:
        await self.socket.send(json.dumps(event))

    async def create(self, input: Any, **fields: Any) -> None:
        await self.send(type="response.create", input=input, **fields)

    async def next(self) -> Event:
        async with asyncio.timeout(20):
            event: Event = json.loads(await self.socket.recv())
        self.events.append(event)
        return event

    async def until(self, *types: str, lane: str | None = None) -> list[Event]:
        """A lane's next events up to the first of one of these types; those of other lanes wait their turn."""
        found: list[Event] = []
        while True:
            waiting = self._waiting[lane]
            event = waiting.popleft() if waiting else await self.next()
            if event.get("stream_id") != lane:
                self._waiting[event.get("stream_id")].append(event)
                continue
            found.append(event)
            if event["type"] in types:
                return found

    async def turn(self, input: Any, **fields: Any) -> list[Event]:
        """A whole turn in its lane, to the terminal event or the error."""
        await self.create(input, **fields)
        return await self.until(*TERMINAL, "error", lane=fields.get("stream_id"))


@asynccontextmanager
async def talking(served: Served, **options: Any) -> AsyncIterator[Talk]:
    async with connect(
        served.ws + "/v1/responses", additional_headers=served.headers, compression=None, **options
    ) as socket:
        yield Talk(socket)


def text_of(events: list[Event]) -> str:
    """The deltas, joined."""
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
