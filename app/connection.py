"""One WebSocket: a receive loop that never waits for generation, lanes, and a way out that never waits for a reader."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from app.ask import Ask
from app.hub import Handle, Hub
from app.principal import Principal
from app.store.record import StoredResponse
from app.transport import WIRE, Wire
from protocol.codec import encode, error_event, lane_tail
from protocol.codes import Close, ProtocolError
from protocol.connection import Action, Cancel, CloseWith, Incoming, Send, ServerConnection, Start
from protocol.events import ResponseEvent

log = logging.getLogger("sluice.connection")

CLOSE_WAIT_S: Final = 2.0
"""How long the last payloads may take to leave before a close frame follows them."""


MAX_LOCAL: Final = 256
"""Unstored responses a connection keeps: sixteen lanes of sixteen turns."""
MAX_LOCAL_BYTES: Final = 16 << 20
"""What they may hold in all: a message of the longest kind and its reply, twice."""


class Lane:
    """A lane's reader of one response: adds the `stream_id` and offers the bytes to the connection."""

    __slots__ = ("_connection", "_tail")

    def __init__(self, connection: Connection, stream_id: str | None) -> None:
        self._connection = connection
        self._tail = None if stream_id is None else lane_tail(stream_id)

    def offer(self, number: int, event: ResponseEvent | str, data: bytes) -> None:
        self._connection.offer(data if self._tail is None else data[:-1] + self._tail)


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

    Everything to send goes into the outbox; while the socket takes bytes it is flushed once a turn of the
    event loop, straight to the transport. When it does not, a writer task waits for it,
    `slow_client_deadline_s` at the most.
    """

    __slots__ = (
        "_close_asked",
        "_closing",
        "_config",
        "_emptied",
        "_gone",
        "_held",
        "_hub",
        "_local",
        "_marked",
        "_outbox",
        "_principal",
        "_protocol",
        "_running",
        "_stalled",
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
        # What `Outbox` is, inline: this is called for every token. 2.6 -> 2.1 us from engine to wire without the
        # socket's write (300 sockets, the best of three runs).
        self._outbox: list[bytes] = []
        self._held = 0  # bytes in it
        self._marked = False
        self._gone = False
        self._stalled = asyncio.Event()
        self._emptied = asyncio.Event()  # nothing waits for a reader
        self._emptied.set()
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
            self._hub.connections.discard(self)
            for handle in list(self._running.values()):
                handle.leave()

    def offer(self, payload: bytes) -> None:
        """Queue a payload for this turn's flush. Past the bound the client is too slow and is dropped."""
        if self._gone:
            return
        held = self._held + len(payload)
        if held > self._config.outbox_bytes and self._outbox:
            # one turn of the loop may make more than the bound; that is no fault of a client that keeps up
            if not self._write_now():
                self._drop("its outbox is full")
                return
            held = len(payload)
        self._held = held
        self._outbox.append(payload)
        if not self._marked:
            self._marked = True
            self._hub.flush.mark(self)

    def flush(self) -> None:
        self._marked = False
        if self._gone or not self._outbox:
            return
        if not self._write_now():
            self._emptied.clear()
            self._stalled.set()

    def _write_now(self) -> bool:
        """Give everything to the socket if it takes bytes."""
        wire = self._wire
        if wire is None or not wire.writable():
            return False
        wire.write(self._take())
        return True

    def _take(self) -> list[bytes]:
        payloads = self._outbox
        self._outbox = []
        self._held = 0
        return payloads

    def close(self, code: int, reason: str) -> None:
        """Close once what is queued has left, or a moment later; turns that wait for their lane are dropped."""
        self._act(self._protocol.close(code, reason))

    def forget(self, response_id: str, tenant: str) -> bool:
        """Drop an unstored response of this tenant; whether there was one."""
        return self._principal.tenant == tenant and self._local.pop(response_id, None) is not None

    async def _receive_all(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                self._act(self._protocol.receive_binary())
            else:
                self._act(self._protocol.receive(await self._read(text)))
            await asyncio.sleep(0)  # what has come in is there at once: others have their turn in between

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
                    self.offer(encode(action.event))
                case CloseWith():
                    self._closing = self._closing or action
                    self._close_asked.set()

    def _start(self, action: Start) -> None:
        lane = action.lane
        self._running[lane] = self._hub.start(
            Ask(action.create, self._principal, local=self._local),
            Lane(self, lane),
            on_refused=lambda error: self._refuse(lane, error),
            on_ended=lambda: self._ended(lane),
        )

    def _refuse(self, lane: str | None, error: ProtocolError) -> None:
        self.offer(encode(error_event(error, lane)))
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
            self.offer(encode(error_event(error, action.lane)))

    async def _write_stalled(self) -> None:
        """Send what the direct way could not, as the client reads; end it when it does not."""
        while True:
            await self._stalled.wait()
            self._stalled.clear()
            try:
                async with asyncio.timeout(self._config.slow_client_deadline_s):
                    await self._drain()
                if not self._outbox:
                    self._emptied.set()
            except TimeoutError:
                self._drop("it read nothing until the deadline")
                return

    async def _drain(self) -> None:
        if self._wire is not None:
            await self._wire.wait_writable()
            self._wire.write(self._take())
            return
        for payload in self._take():
            await self._websocket.send_text(payload.decode())

    async def _close_when_asked(self) -> None:
        await self._close_asked.wait()
        if self._gone:
            return
        assert self._closing is not None
        self.flush()
        try:
            async with asyncio.timeout(CLOSE_WAIT_S):
                await self._emptied.wait()
                await self._websocket.close(self._closing.code, self._closing.reason)
        except (TimeoutError, RuntimeError, WebSocketDisconnect):
            self._drop("it read nothing until the close")

    async def _end_of_life(self) -> None:
        await asyncio.sleep(self._config.connection_lifetime_s)
        self._act(self._protocol.expired())

    def _drop(self, why: str) -> None:
        """End a client that does not read, at once and with nothing flushed."""
        log.warning("slow client dropped connection=%x why=%r held=%d", id(self), why, self._held)
        self._gone = True
        self._take()
        self._hub.metrics.slow_clients.inc()
        for handle in list(self._running.values()):
            handle.leave()
        if self._wire is not None:
            self._wire.abort()
        self._close_asked.set()

    def __repr__(self) -> str:
        state = "gone" if self._gone else "open"
        return f"<Connection {id(self):x} {state} running={len(self._running)} held={self._held}>"
