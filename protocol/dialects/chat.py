"""Chat completions: a response's events as chunks, or the whole of it as one answer."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

from protocol.codec import encode
from protocol.dialects.outcome import FinishReason, calls, finish_reason, output_logprobs, output_text
from protocol.dialects.stream import CompletionStream
from protocol.events import FunctionCallArgumentsDelta, OutputItemAdded, OutputTextDelta, ResponseEvent
from protocol.logprobs import TokenLogprob
from protocol.response import IncompleteDetails, Response, ServedTier
from protocol.tools import FunctionCall
from protocol.usage import CompletionUsage


class CalledFunction(Struct, frozen=True):
    name: str
    arguments: str


class ChatToolCall(Struct, frozen=True, kw_only=True):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class FunctionDelta(Struct, frozen=True, kw_only=True):
    name: str | UnsetType = UNSET
    arguments: str


class ChatToolCallDelta(Struct, frozen=True, kw_only=True):
    """The first of a call has its id and name, those that follow more of the arguments."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionDelta


class ChatDelta(Struct, frozen=True, kw_only=True):
    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    tool_calls: tuple[ChatToolCallDelta, ...] | UnsetType = UNSET


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
    """`usage` is there only when asked for, and filled only in the last chunk, which has no choices; `service_tier` is
    there only where the reply ends."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: tuple[ChatChunkChoice, ...]
    usage: CompletionUsage | UnsetType | None = UNSET
    service_tier: ServedTier | UnsetType = UNSET


class ChatMessage(Struct, frozen=True, kw_only=True):
    """`content` is null where there are calls and no text."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    annotations: tuple[()] = ()
    tool_calls: tuple[ChatToolCall, ...] | UnsetType = UNSET


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
    service_tier: ServedTier = "default"
    metadata: dict[str, str] = field(default_factory=dict)


class ChatStream(CompletionStream[ChatChunkChoice]):
    """A response's events as chunks of a chat completion.

    The role comes first, then the text, the reason of its end, the usage if asked for, and [DONE]. A failure
    is an error in the stream's midst.
    """

    chunk = ChatChunk
    _opened = False
    _calls = 0

    def _delta(self, text: str) -> ChatChunkChoice:
        return ChatChunkChoice(delta=ChatDelta(content=text))

    def feed(self, event: ResponseEvent | str) -> bytes:
        match event:
            case OutputItemAdded(item=FunctionCall() as call):
                opening = b"" if self._opened else self._first()
                self._calls += 1
                return opening + self._call(
                    id=call.call_id, type="function", function=FunctionDelta(name=call.name, arguments="")
                )
            case OutputItemAdded() if self._opened:
                return b""
            case FunctionCallArgumentsDelta(delta=delta):
                return self._call(function=FunctionDelta(arguments=delta))
            case _:
                return super().feed(event)

    def _call(self, **delta: Any) -> bytes:
        """Of the call that came last."""
        call = ChatToolCallDelta(index=self._calls - 1, **delta)
        return self._chunk(ChatChunkChoice(delta=ChatDelta(tool_calls=(call,))))

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
        message=_message(response),
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
            service_tier=response.service_tier,
            metadata=response.metadata,
        )
    )


def _message(response: Response) -> ChatMessage:
    made = tuple(
        ChatToolCall(id=call.call_id, function=CalledFunction(call.name, call.arguments))
        for call in calls(response)
    )
    text = output_text(response)
    return ChatMessage(content=text if text or not made else None, tool_calls=made or UNSET)
