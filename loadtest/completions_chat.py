"""A chat with any OpenAI-compatible server: it keeps no history, so each turn sends all of it again."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from loadtest.faults import NotHttp, StreamCut, http_fault
from loadtest.http_exchange import exchange
from loadtest.sse import EventData
from loadtest.target import EndBy, Target
from loadtest.turn import Ask, Turn

_DONE: Final = b"[DONE]"
_GOOD_ENDS: Final = ("stop", "length")


class _Delta(Struct):
    content: str | None = None


class _Choice(Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Usage(Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: dict[str, Any] | None = None

    @property
    def cached_tokens(self) -> int:
        return int((self.prompt_tokens_details or {}).get("cached_tokens") or 0)


class _Chunk(Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_CHUNK: Final = msgspec.json.Decoder(_Chunk)


class CompletionsChat:
    """One chat over `/chat/completions`, each turn on a connection of its own."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._messages: list[dict[str, str]] = []

    async def open(self) -> None:
        """Nothing outlives a turn."""

    async def close(self) -> None:
        """Nothing to leave."""

    async def say(self, line: str, ask: Ask, turn: Turn, on_delta: Callable[[], None]) -> None:
        messages = [*self._messages, {"role": "user", "content": line}]
        body = msgspec.json.encode(completion_body(self._target, messages, ask))
        async with exchange(self._target, "POST", f"{self._target.path}/chat/completions", body) as answer:
            status = await answer.status()
            if status != 200:
                turn.fail(*http_fault(status, await answer.whole()))
                return
            said = await _read(answer.body(), turn, on_delta)
        self._messages = [*messages, {"role": "assistant", "content": said}]


def completion_body(target: Target, messages: list[dict[str, str]], ask: Ask) -> dict[str, Any]:
    """The request, in fields that every server knows but the one that `target.end_by` names."""
    body: dict[str, Any] = {
        "model": target.model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": ask.max_tokens,
        "temperature": 0,
    }
    return {**body, **_no_end(target.end_by)} if ask.ignore_eos else body


def _no_end(end_by: EndBy) -> dict[str, Any]:
    match end_by:
        case "ignore_eos":
            return {"ignore_eos": True}
        case "generation_config":  # one that has no token to end with
            return {"generation_config": '{"do_sample": false}'}
        case "nothing":
            return {}


async def _read(pieces: AsyncIterator[bytes], turn: Turn, on_delta: Callable[[], None]) -> str:
    """Read the chunks of an answer into `turn`; its text. Raises StreamCut if it has no end."""
    said: list[str] = []
    ended: str | None = None
    usage: _Usage | None = None
    chunk = None
    async for chunk in _chunks(pieces):
        if chunk.error is not None:
            turn.fail(*_error_in_stream(chunk.error))
        usage = chunk.usage or usage
        for choice in chunk.choices[:1]:
            if choice.delta.content:
                turn.delta_at.append(time.perf_counter())
                said.append(choice.delta.content)
                on_delta()
            ended = choice.finish_reason or ended
        if ended is not None and turn.ended_at is None:
            turn.ended_at = time.perf_counter()
    if chunk is None:
        raise NotHttp("what came is no stream of a completion; an address of an API ends in /v1 as a rule")
    if ended is None and turn.fault is None:
        raise StreamCut("the stream ended without a finish_reason")
    if ended not in _GOOD_ENDS:
        turn.fail(ended or "error")
    if usage is None:
        turn.count(None)
    else:
        turn.count(usage.completion_tokens, usage.prompt_tokens, usage.cached_tokens)
    return "".join(said)


async def _chunks(pieces: AsyncIterator[bytes]) -> AsyncIterator[_Chunk]:
    events = EventData()
    async for piece in pieces:
        for data in events.feed(piece):
            if data == _DONE:
                return
            try:
                yield _CHUNK.decode(data)
            except msgspec.MsgspecError as error:
                raise NotHttp(f"not a chunk of a completion: {error}") from error


def _error_in_stream(error: Any) -> tuple[str, str]:
    """Name and detail of an error that comes where a chunk should."""
    if isinstance(error, dict):
        return str(error.get("code") or "error"), str(error.get("message", ""))
    return "error", str(error)
