"""Completions of a plain prompt: a response's events as chunks, or the whole of it as one answer."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from protocol.codec import encode, sse_data
from protocol.dialects.outcome import FinishReason, finish_reason, output_text
from protocol.dialects.stream import HOLE, CompletionStream
from protocol.response import IncompleteDetails, Response
from protocol.usage import CompletionUsage


class CompletionChoice(Struct, frozen=True, kw_only=True):
    """`incomplete_details` is ours: what a cut was for, as the response itself says it."""

    text: str
    index: Literal[0] = 0
    logprobs: None = None
    finish_reason: FinishReason | None = None
    incomplete_details: IncompleteDetails | UnsetType = UNSET


class Completion(Struct, frozen=True, kw_only=True):
    """An answer, or a chunk of one. A stream has `usage` when asked for, filled only in its last chunk."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: tuple[CompletionChoice, ...]
    usage: CompletionUsage | UnsetType | None = UNSET


class TextStream(CompletionStream):
    """A response's events as chunks of a completion: text, the reason of its end, usage if asked, [DONE]."""

    def __init__(self, completion_id: str, created: int, model: str, include_usage: bool) -> None:
        self._completion_id = completion_id
        self._created = created
        self._model = model
        self._include_usage = include_usage
        super().__init__(self._chunk(CompletionChoice(text=HOLE)))

    def _first(self) -> bytes:
        return b""

    def _last(self, response: Response) -> bytes:
        chunks = sse_data(encode(self._chunk(_ending(response, ""))))
        if self._include_usage and response.usage is not None:
            chunks += sse_data(encode(self._chunk(usage=CompletionUsage.of(response.usage))))
        return chunks

    def _chunk(self, *choices: CompletionChoice, usage: CompletionUsage | None = None) -> Completion:
        return Completion(
            id=self._completion_id,
            created=self._created,
            model=self._model,
            choices=choices,
            usage=usage if self._include_usage else UNSET,
        )


def text_completion(response: Response, completion_id: str) -> bytes:
    """The whole answer of a response that has ended and did not fail."""
    return encode(
        Completion(
            id=completion_id,
            created=response.created_at,
            model=response.model,
            choices=(_ending(response, output_text(response)),),
            usage=UNSET if response.usage is None else CompletionUsage.of(response.usage),
        )
    )


def _ending(response: Response, text: str) -> CompletionChoice:
    return CompletionChoice(
        text=text,
        finish_reason=finish_reason(response),
        incomplete_details=response.incomplete_details or UNSET,
    )
