"""uvicorn's protocols with what ASGI lacks: ready bytes out, whether the socket takes them, and an abort.

uvicorn waits without a limit for a peer that reads, and its close flushes first, so a client that never reads
would never be freed. `scope["extensions"]["sluice.wire"]` lets the hub write ready frames to a socket that
keeps up, see that one does not, and end it at a deadline. Without the extension (another server) the hub uses
plain ASGI sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn._types import ASGI3Application, ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

from app.frame_budget import PER_S, TINY_BYTES, FrameBudget
from app.wire import WIRE, Wire
from protocol.codes import Close

HEAD_BYTES: Final = 512 << 10
"""How long a request's head may be; browsers and proxies stop at a tenth of it."""

HEAD_WAIT_S: Final = 20.0
"""How long a new connection may take to send a request's head; browsers and SDKs send it at once."""

SLICE_BYTES: Final = 4096
"""Bytes parsed in one turn of the event loop: 2,000 of the smallest frames take some milliseconds."""

LINGER_S: Final = 5.0
"""How long a closed socket may keep unread bytes; a healthy peer reads them in milliseconds."""


class SluiceWebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol with a `Wire`, an end for every close, and turns for what comes in.

    A read may hold thousands of tiny frames, and control frames never pause reading: parsed at once, they would hold
    up every other connection for seconds.
    """

    _wire: Wire | None = None
    _close_sent = False

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.conn.debug = False  # it would log every frame and header: keys, and text that no gate has seen
        self._unread = bytearray()  # at most two reads: reading is paused until it has been parsed
        self._budget = FrameBudget(self.loop.time())

    @property
    def close_sent(self) -> bool:
        """Whether a close frame has been sent, as uvicorn says; nothing may follow it."""
        return self._close_sent

    @close_sent.setter
    def close_sent(self, sent: bool) -> None:
        self._close_sent = sent
        self._tell_wire()

    @property
    def closing(self) -> bool:
        return self._close_sent or self.disconnected

    def pause_writing(self) -> None:
        super().pause_writing()
        self._tell_wire()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._tell_wire()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._tell_wire()

    def _tell_wire(self) -> None:
        if self._wire is not None:
            self._wire.on_taking(self._wire.taking)

    def data_received(self, data: bytes) -> None:
        if not self._unread and len(data) <= SLICE_BYTES:
            super().data_received(data)
            return
        if not self._unread:
            self.loop.call_soon(self._parse_slice)
        self._unread += data
        self.transport.pause_reading()

    def _parse_slice(self) -> None:
        if self.disconnected or self.transport.is_closing():
            self._unread.clear()
            return
        part = bytes(self._unread[:SLICE_BYTES])
        del self._unread[:SLICE_BYTES]
        super().data_received(part)
        if self._unread:
            self.loop.call_soon(self._parse_slice)
        elif not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        message = await super().receive()
        if self._unread and not self.transport.is_closing():
            self.transport.pause_reading()  # uvicorn has resumed it, for it knows of no slices
        return message

    def handle_cont(self, event: Frame) -> None:
        super().handle_cont(event)
        self._spend_on_fragment(event)

    def handle_text(self, event: Frame) -> None:
        super().handle_text(event)
        self._spend_on_fragment(event)

    def handle_bytes(self, event: Frame) -> None:
        super().handle_bytes(event)
        self._spend_on_fragment(event)

    def handle_pong(self, event: Frame) -> None:
        super().handle_pong(event)
        self._spend()

    def _spend_on_fragment(self, event: Frame) -> None:
        if not event.fin and len(event.data) < TINY_BYTES:
            self._spend()

    def _spend(self) -> None:
        """Count a frame that says nothing; past the budget the connection ends with 1008."""
        if not self._budget.spend(self.loop.time()) and not self.closing:
            self.conn.fail(Close.POLICY, f"more than {PER_S} control frames or tiny fragments a second")
            self.handle_parser_exception()

    def handle_ping(self) -> None:
        self._spend()
        if self.writable.is_set() and not self.closing:
            super().handle_ping()
        else:
            self.conn.data_to_send()  # a peer that does not read gets no answer

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            extensions = cast("dict[str, Any]", self.scope["extensions"])
            extensions[WIRE] = self._wire = Wire(self)

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # refused in full, which uvicorn would log as an error

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._abort_later()

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self._abort_later()

    async def run_asgi(self) -> None:
        try:
            await super().run_asgi()
        finally:
            self._abort_later()

    def shutdown(self) -> None:
        super().shutdown()
        self._abort_later()

    def _abort_later(self) -> None:
        if not self.disconnected:
            self.loop.call_later(LINGER_S, self._abort_unless_gone)

    def _abort_unless_gone(self) -> None:
        if not self.disconnected:
            self.transport.abort()


class SluiceHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with an abort in the scope, and an end for peers that neither send nor read."""

    def __init__(self, *args: Any, deadline_s: float, **named: Any) -> None:
        super().__init__(*args, **named)
        self._deadline_s = deadline_s
        self._head = _Deadline(self.loop)
        self._head_bytes = 0
        self._in_head = False
        self._served: RequestResponseCycle | None = None
        self._reading = _Deadline(self.loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head.stop()
        self._reading.stop()
        if (
            self._served is not None and not self._served.response_complete
        ):  # uvicorn marks the last request only
            self._served.disconnected = True
            self._served.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        continued = self._in_head
        super().data_received(data)
        if continued and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.transport.abort()

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()
        self.scope["extensions"] = {WIRE: cast("dict[object, object]", self.transport.abort)}

    def on_headers_complete(self) -> None:
        self._head.stop()
        self._in_head = False
        super().on_headers_complete()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # a trailer is nothing that anyone reads, and would grow without a bound
            super().on_header(name, value)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def handle_websocket_upgrade(self) -> None:
        busy = self.cycle is not None and not self.cycle.response_complete
        if (
            busy or self.flow.write_paused
        ):  # an answer is still on its way: the new protocol would not know of it
            self.transport.abort()
            return
        self._head.stop()
        super().handle_websocket_upgrade()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # none that came behind it is being answered
            self._await_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading.start(self._deadline_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._reading.stop()

    def _await_head(self) -> None:
        """Give the next request's head its time; what is left of a refused body counts too."""
        if not self.transport.is_closing():
            self._head.start(HEAD_WAIT_S, self.transport.abort)


class _Deadline:
    """One timer that is started anew and stopped as often as needed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float, then: Callable[[], None]) -> None:
        self.stop()
        self._timer = self._loop.call_later(seconds, then)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
