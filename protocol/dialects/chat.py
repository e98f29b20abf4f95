"""Chat completions: a response's events as chunks, or the whole of it as one answer."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from protocol.codec import encode
from protocol.dialects.outcome import FinishReason, finish_reason, output_logprobs, output_text
from protocol.dialects.stream import CompletionStream
from protocol.events import OutputTextDelta
from protocol.logprobs import TokenLogprob
from protocol.response import IncompleteDetails, Response
from protocol.usage import CompletionUsage


class ChatDelta(Struct, frozen=True, kw_only=True):
    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChatLogprobs(Struct, frozen=True):
    content: tuple[TokenLogprob, ...]
    refusal: None = None


class ChatChunkChoice(Struct, frozen=True, kw_only=True):
    """`incomplete_details` is ours: what a cut was for, as the response itself says it."""

    index: Literal[0] = 0
    delta: ChatDelta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None
    incomplete_details: IncompleteDetails | UnsetType = UNSET


class ChatChunk(Struct, frozen=True, kw_only=True):
    """`usage` is there only when asked for, and filled only in the last chunk, which has no choices."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: tuple[ChatChunkChoice, ...]
    usage: CompletionUsage | UnsetType | None = UNSET


class ChatMessage(Struct, frozen=True, kw_only=True):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None
    annotations: tuple[()] = ()


class ChatChoice(Struct, frozen=True, kw_only=True):
    """`incomplete_details` is ours: what a cut was for, as the response itself says it."""

    index: Literal[0] = 0
    message: ChatMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason
    incomplete_details: IncompleteDetails | UnsetType = UNSET


class ChatCompletion(Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: tuple[ChatChoice, ...]
    usage: CompletionUsage | UnsetType = UNSET
    service_tier: Literal["default"] = "default"
    metadata: dict[str, str] = field(default_factory=dict)


class ChatStream(CompletionStream[ChatChunkChoice]):
    """A response's events as chunks of a chat completion.

    The role comes first, then the text, the reason of its end, the usage if asked for, and [DONE]. A failure
    is an error in the stream's midst.
    """

    chunk = ChatChunk
    _opened = False

    def _delta(self, text: str) -> ChatChunkChoice:
        return ChatChunkChoice(delta=ChatDelta(content=text))

    def _scored(self, delta: OutputTextDelta) -> ChatChunkChoice:
        return ChatChunkChoice(delta=ChatDelta(content=delta.delta), logprobs=ChatLogprobs(delta.logprobs))

    def _ending(self, response: Response) -> ChatChunkChoice:
        return ChatChunkChoice(
            delta=ChatDelta(),
            finish_reason=finish_reason(response),
            incomplete_details=response.incomplete_details or UNSET,
        )

    def _first(self) -> bytes:
        self._opened = True
        return self._chunk(ChatChunkChoice(delta=ChatDelta(role="assistant", content="")))

    def _last(self, response: Response) -> bytes:
        opening = b"" if self._opened else self._first()
        return opening + super()._last(response)


def chat_completion(response: Response, completion_id: str, *, scored: bool = False) -> bytes:
    """The whole answer of a response that has ended and did not fail; `scored`: log probabilities were asked for."""
    choice = ChatChoice(
        message=ChatMessage(content=output_text(response)),
        logprobs=ChatLogprobs(output_logprobs(response)) if scored else None,
        finish_reason=finish_reason(response),
        incomplete_details=response.incomplete_details or UNSET,
    )
    return encode(
        ChatCompletion(
            id=completion_id,
            created=response.created_at,
            model=response.model,
            choices=(choice,),
            usage=UNSET if response.usage is None else CompletionUsage.of(response.usage),
            metadata=response.metadata,
        )
    )
