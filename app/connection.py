"""One WebSocket: a receive loop that never waits for generation, lanes, and a way out that never waits for a reader."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from itertools import count
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from app.ask import Ask
from app.emitter import Sink
from app.handle import Handle
from app.hub import Hub
from app.principal import Principal
from app.socket_outbox import SocketOutbox
from app.store.record import StoredResponse
from app.wire import WIRE, Wire
from protocol.codec import encode, error_event, lane_tail
from protocol.codes import Close, ProtocolError
from protocol.connection import Action, Cancel, CloseWith, Incoming, Send, ServerConnection, Start
from protocol.events import ResponseEvent

log = logging.getLogger("sluice.connection")

CLOSE_WAIT_S: Final = 2.0
"""How long the last payloads may take to leave before a close frame follows them."""

IN_A_ROW: Final = 4
"""Messages that have come in which are taken before others have their turn: lanes that are asked for together start
together, and stay neighbours."""

MAX_LOCAL: Final = 256
"""Unstored responses a connection keeps: sixteen lanes of sixteen turns."""
MAX_LOCAL_BYTES: Final = 16 << 20
"""What they may hold in all: a message of the longest kind and its reply, twice."""


class Lane(Sink):
    """A named lane's reader of one response: adds the `stream_id` and offers the bytes to the connection's outbox."""

    __slots__ = ("_outbox", "_tail")

    def __init__(self, outbox: SocketOutbox, stream_id: str) -> None:
        self._outbox = outbox
        self._tail = lane_tail(stream_id)

    def offer(self, data: bytes, number: int, event: ResponseEvent | str) -> None:
        self._outbox.offer(data[:-1] + self._tail)

    @property
    def direct(self) -> tuple[Sink, bytes]:
        return self._outbox, self._tail


class LocalResponses(OrderedDict[str, StoredResponse]):
    """Responses made with `store: false`: parents for this connection alone, gone with it. The oldest make room."""

    def __setitem__(self, response_id: str, record: StoredResponse) -> None:
        super().__setitem__(response_id, record)
        while len(self) > MAX_LOCAL or (len(self) > 1 and self._size() > MAX_LOCAL_BYTES):
            self.popitem(last=False)

    def _size(self) -> int:
        return sum(record.size for record in self.values())


class Connection:
    """The life of one accepted socket.

    Everything to send goes into the outbox, which drops a client that does not read.
    """

    __slots__ = (
        "_close_asked",
        "_closing",
        "_config",
        "_gone",
        "_hub",
        "_local",
        "_outbox",
        "_principal",
        "_protocol",
        "_running",
        "_websocket",
        "_wire",
    )

    def __init__(
        self, websocket: WebSocket, hub: Hub, protocol: ServerConnection, principal: Principal
    ) -> None:
        self._websocket = websocket
        self._hub = hub
        self._protocol = protocol
        self._principal = principal
        self._config = hub.config
        self._wire: Wire | None = websocket.scope.get("extensions", {}).get(WIRE)
        self._outbox = SocketOutbox(
            self._wire,
            hub.flush,
            send_text=websocket.send_text,
            max_bytes=hub.config.outbox_bytes,
            on_full=lambda: self._drop("its outbox is full"),
        )
        self._gone = False
        self._closing: CloseWith | None = None
        self._close_asked = asyncio.Event()
        self._running: dict[str | None, Handle] = {}  # by lane
        self._local = LocalResponses()

    async def run(self) -> None:
        """Serve until the peer leaves or a limit ends it. The socket has been accepted."""
        self._hub.connections.add(self)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._receive_all()),
                    group.create_task(self._write_stalled()),
                    group.create_task(self._close_when_asked()),
                    group.create_task(self._end_of_life()),
                ]
                await asyncio.wait(tasks[:1] + tasks[2:3], return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
        finally:
            self._gone = True
            self._outbox.close()
            self._hub.connections.discard(self)
            for handle in list(self._running.values()):
                handle.leave()

    def close(self, code: int, reason: str) -> None:
        """Close once what is queued has left, or a moment later; turns that wait for their lane are dropped."""
        self._act(self._protocol.close(code, reason))

    def forget(self, response_id: str, tenant: str) -> bool:
        """Drop an unstored response of this tenant; whether there was one."""
        return self._principal.tenant == tenant and self._local.pop(response_id, None) is not None

    async def _receive_all(self) -> None:
        for number in count(1):
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                self._act(self._protocol.receive_binary())
            else:
                self._act(self._protocol.receive(await self._read(text)))
            if number % IN_A_ROW == 0:  # what has come in is there at once
                await asyncio.sleep(0)

    async def _read(self, text: str) -> Incoming:
        try:
            return await self._hub.workers.read(
                self._principal.tenant, len(text), lambda: self._protocol.read(text)
            )
        except ProtocolError as error:
            return error_event(error, None)

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start():
                    self._start(action)
                case Cancel():
                    self._cancel(action)
                case Send():
                    self._outbox.offer(encode(action.event))
                case CloseWith():
                    self._closing = self._closing or action
                    self._close_asked.set()

    def _start(self, action: Start) -> None:
        lane = action.lane
        self._running[lane] = self._hub.start(
            Ask(action.create, self._principal, local=self._local),
            self._outbox if lane is None else Lane(self._outbox, lane),
            on_refused=lambda error: self._refuse(lane, error),
            on_ended=lambda: self._ended(lane),
        )

    def _refuse(self, lane: str | None, error: ProtocolError) -> None:
        self._outbox.offer(encode(error_event(error, lane)))
        if error.info.type == "authentication_error":
            self.close(Close.POLICY, error.code)

    def _ended(self, lane: str | None) -> None:
        self._running.pop(lane, None)
        if not self._gone:
            self._act(self._protocol.ended(lane))

    def _cancel(self, action: Cancel) -> None:
        try:
            self._hub.cancel(action.response_id, self._principal.tenant)
        except ProtocolError as error:
            self._outbox.offer(encode(error_event(error, action.lane)))

    async def _write_stalled(self) -> None:
        await self._outbox.write_waiting(self._config.slow_client_deadline_s)
        self._drop("it read nothing until the deadline")

    async def _close_when_asked(self) -> None:
        await self._close_asked.wait()
        if self._gone:
            return
        assert self._closing is not None
        self._outbox.flush()
        try:
            async with asyncio.timeout(CLOSE_WAIT_S):
                await self._outbox.wait_empty()
                await self._websocket.close(self._closing.code, self._closing.reason)
        except (TimeoutError, RuntimeError, WebSocketDisconnect):
            self._drop("it read nothing until the close")

    async def _end_of_life(self) -> None:
        await asyncio.sleep(self._config.connection_lifetime_s)
        self._act(self._protocol.expired())

    def _drop(self, why: str) -> None:
        """End a client that does not read, at once and with nothing flushed."""
        log.warning("slow client dropped connection=%x why=%r held=%d", id(self), why, self._outbox.held)
        self._gone = True
        self._outbox.close()
        self._hub.metrics.slow_clients.inc()
        for handle in list(self._running.values()):
            handle.leave()
        if self._wire is not None:
            self._wire.abort()
        self._close_asked.set()

    def __repr__(self) -> str:
        state = "gone" if self._gone else "open"
        return f"<Connection {id(self):x} {state} running={len(self._running)} held={self._outbox.held}>"
