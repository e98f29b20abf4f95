"""A chat over our WebSocket: the server keeps the history, a turn names the response that it continues."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from websockets.asyncio.client import ClientConnection as Socket
from websockets.asyncio.client import connect

from loadtest.target import Target
from loadtest.turn import Ask, Turn
from protocol.client import ClientConnection, ReceivedResponse

_CONNECT_S: Final = 30.0
_CLOSE_S: Final = 1.0


class SocketChat:
    """One chat on one socket. What raises within a turn leaves the socket behind; the next turn has a new one."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._socket: Socket | None = None
        self._client = ClientConnection()
        self._last_id: str | None = None

    async def open(self) -> None:
        if self._socket is None:
            self._client = ClientConnection()
            self._socket = await connect(
                self._target.url,
                additional_headers={"Authorization": f"Bearer {self._target.key}"},
                open_timeout=_CONNECT_S,
                close_timeout=_CLOSE_S,
                compression=None,
                max_size=None,
                proxy=None,
            )

    async def close(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()

    async def say(self, line: str, ask: Ask, turn: Turn, on_delta: Callable[[], None]) -> None:
        await self.open()
        assert self._socket is not None
        await self._socket.send(self._client.create(line, **self._fields(ask)), text=True)
        while True:
            event = self._client.receive(await self._socket.recv())
            if event.type == "response.output_text.delta":
                turn.delta_at.append(time.perf_counter())
                on_delta()
            elif event.type == "error":
                assert event.error is not None
                turn.fail(event.error.code or "error", event.error.message)
                return
            elif event.terminal:
                assert event.response is not None
                turn.ended_at = time.perf_counter()
                self._end(event.response, turn)
                return

    def _end(self, response: ReceivedResponse, turn: Turn) -> None:
        usage = response.usage or {}
        details = usage.get("input_tokens_details") or {}
        turn.count(usage.get("output_tokens"), usage.get("input_tokens", 0), details.get("cached_tokens", 0))
        reason = (response.incomplete_details or {}).get("reason")
        if response.status == "completed" or reason == "max_output_tokens":
            self._last_id = response.id
        else:
            turn.fail(reason or response.status)

    def _fields(self, ask: Ask) -> dict[str, Any]:
        fields = {
            "max_output_tokens": ask.max_tokens,
            "ignore_eos": ask.ignore_eos,
            "temperature": 0,
            "store": ask.store,
        }
        return fields if self._last_id is None else {**fields, "previous_response_id": self._last_id}
