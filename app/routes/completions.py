"""`/v1/chat/completions` and `/v1/completions`: the same turns in the older dialects, kept nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response as HttpResponse
from starlette.routing import Route

from app.answers import json_answer
from app.ask import Ask
from app.emitter import Sink
from app.http_turn import run_turn, stream_turn
from app.ids import new_id
from app.service import service_of
from app.sse import EventStream
from protocol.dialects.chat import ChatStream, chat_completion
from protocol.dialects.completions import TextStream, text_completion
from protocol.dialects.outcome import broken_off
from protocol.dialects.stream import CompletionStream
from protocol.events import TERMINAL, ResponseCreated, ResponseEvent
from protocol.requests.chat import ChatRequest, parse_chat
from protocol.requests.completion import CompletionRequest, parse_completion
from protocol.requests.create import CreateResponse
from protocol.requests.sampling import Sampled


class DialectSink(Sink):
    """Writes a turn's events into a stream as chunks of a completion; the first event says of which."""

    def __init__(
        self, stream: EventStream, begin: Callable[[ResponseCreated], CompletionStream[Any]]
    ) -> None:
        self._stream = stream
        self._begin = begin
        self._dialect: CompletionStream[Any] | None = None

    def offer(self, data: bytes, number: int, event: ResponseEvent | str) -> None:
        if self._dialect is None:
            assert isinstance(event, ResponseCreated)
            self._dialect = self._begin(event)
        self._stream.offer(self._dialect.feed(event))
        if isinstance(event, TERMINAL):
            self._stream.end()


async def chat(request: Request) -> HttpResponse | EventStream:
    service = service_of(request)
    principal = await service.authenticate(request, "responses:write")
    asked = await service.read(request, principal.tenant, parse_chat)
    create = CreateResponse(
        messages=asked.messages,
        offer=asked.offer,
        metadata=asked.metadata,
        prompt_cache_key=asked.prompt_cache_key,
        store=False,
        **_sampled(asked),
    )
    ask = Ask(create, principal, param="messages", keep=False)
    return await _answer(request, ask, asked, "chatcmpl", chat_completion, ChatStream)


async def completion(request: Request) -> HttpResponse | EventStream:
    service = service_of(request)
    principal = await service.authenticate(request, "responses:write")
    asked = await service.read(request, principal.tenant, parse_completion)
    create = CreateResponse(messages=(), store=False, **_sampled(asked))
    ask = Ask(create, principal, plain=asked.prompt, param="prompt", keep=False)
    return await _answer(request, ask, asked, "cmpl", text_completion, TextStream)


async def _answer(
    request: Request,
    ask: Ask,
    asked: ChatRequest | CompletionRequest,
    prefix: str,
    whole: Callable[..., bytes],
    chunks: type[ChatStream | TextStream],
) -> HttpResponse | EventStream:
    """The turn's answer in its dialect, at once or in chunks; its id begins with the prefix."""
    service = service_of(request)
    if not asked.stream:
        response = await run_turn(service, ask, request)
        if (error := broken_off(response)) is not None:
            raise error
        return json_answer(whole(response, new_id(prefix), scored=asked.logprobs is not None))

    def begin(created: ResponseCreated) -> CompletionStream[Any]:
        response = created.response
        return chunks(new_id(prefix), response.created_at, response.model, asked.include_usage)

    return await stream_turn(service, ask, lambda stream: DialectSink(stream, begin))


def _sampled(asked: ChatRequest | CompletionRequest) -> dict[str, Any]:
    """The fields that every dialect shares."""
    return {name: getattr(asked, name) for name in Sampled.__struct_fields__}


routes = [
    Route("/v1/chat/completions", chat, methods=["POST"]),
    Route("/v1/completions", completion, methods=["POST"]),
]
