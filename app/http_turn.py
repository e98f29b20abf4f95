"""A response asked for over HTTP: awaited whole, or streamed. A caller that hangs up ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from starlette.requests import Request

from app.ask import Ask
from app.emitter import Sink
from app.service import Service
from app.sse import EventStream
from protocol.codes import ProtocolError
from protocol.dialects.outcome import failure
from protocol.dialects.responses import event_sse
from protocol.events import TERMINAL, ResponseEvent
from protocol.response import Response


class Collector(Sink):
    """Keeps the terminal event's response of a turn, for callers that want nothing else."""

    def __init__(self) -> None:
        self.response: Response | None = None

    def offer(self, data: bytes, number: int, event: ResponseEvent | str) -> None:
        if isinstance(event, TERMINAL):
            self.response = event.response


class SseSink(Sink):
    """Writes a turn's events into a stream as they are, those after a position."""

    def __init__(self, stream: EventStream, after: int = -1) -> None:
        self._stream = stream
        self._after = after

    def offer(self, data: bytes, number: int, event: ResponseEvent | str) -> None:
        if number > self._after:
            self._stream.offer(event_sse(data))
        if isinstance(event, TERMINAL):
            self._stream.end()


async def run_turn(service: Service, ask: Ask, request: Request) -> Response:
    """The finished response; a caller that hangs up ends it. Raises ProtocolError, also for one that failed."""
    collector = Collector()
    refused: list[ProtocolError] = []
    done = asyncio.Event()
    handle = service.hub.start(ask, collector, on_refused=refused.append, on_ended=done.set)
    waiting = asyncio.ensure_future(done.wait())
    leaving = asyncio.ensure_future(_hang_up(request))
    try:
        await asyncio.wait([waiting, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not done.is_set():
            handle.leave()
            await waiting
    finally:
        handle.leave()
        leaving.cancel()
        waiting.cancel()
    if refused:
        raise refused[0]
    response = collector.response
    if response is None:
        raise ProtocolError("request_timeout", "The client left before the response began.")
    error = failure(response)
    if error is not None:
        raise error
    return response


async def stream_turn(service: Service, ask: Ask, sink: Callable[[EventStream], Sink]) -> EventStream:
    """A stream of the response in the dialect of `sink`. Raises ProtocolError while nothing has been sent yet."""
    stream: EventStream
    begun = asyncio.Event()
    refused: list[ProtocolError] = []

    def on_refused(error: ProtocolError) -> None:
        refused.append(error)
        begun.set()

    stream = new_stream(service, lambda: handle.leave())
    handle = service.hub.start(ask, _Begin(sink(stream), begun), on_refused=on_refused, on_ended=stream.end)
    try:
        await begun.wait()
    except asyncio.CancelledError:
        handle.leave()
        raise
    if refused:
        raise refused[0]
    return stream


class _Begin(Sink):
    """Says when the first event came, and passes all on."""

    def __init__(self, sink: Sink, begun: asyncio.Event) -> None:
        self._sink = sink
        self._begun = begun

    def offer(self, data: bytes, number: int, event: ResponseEvent | str) -> None:
        self._sink.offer(data, number, event)
        self._begun.set()


def new_stream(service: Service, on_leave: Callable[[], None], past: Iterable[bytes] = ()) -> EventStream:
    config = service.config
    return EventStream(
        max_bytes=config.outbox_bytes,
        deadline_s=config.slow_client_deadline_s,
        keepalive_s=config.keepalive_s,
        on_leave=on_leave,
        past=past,
    )


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
