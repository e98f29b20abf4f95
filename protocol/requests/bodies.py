"""Request bodies as clients write them: what the published schemas are made from.

The parsers of this package read them with finer errors than a schema can give; a test holds that both agree.
What is not supported is added to the schemas from the parsers' own tables; limits that are settings are not.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from protocol.limits import MAX_INT32
from protocol.requests.body import Body, Label
from protocol.requests.completion import MAX_COMPLETION_TOP
from protocol.requests.format_bodies import (
    ChatJsonSchemaFormatBody,
    JsonObjectFormatBody,
    StructuredOutputsBody,
    TextBody,
    TextFormatBody,
)
from protocol.requests.message_bodies import ChatInputMessage, InputMessage
from protocol.requests.sampling import (
    LEAST_FACTOR,
    MAX_BIAS,
    MAX_PENALTY,
    MAX_TOP,
    MOST_FACTOR,
    TOKEN_ID,
    AskedTier,
)
from protocol.requests.tool_bodies import (
    ChatChosenFunctionBody,
    ChatToolBody,
    ChosenFunctionBody,
    FunctionToolBody,
    ToolMode,
)

_LaneName: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,256}$")]
_Count: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_INT32)]
_Penalty: TypeAlias = Annotated[float, Meta(ge=-MAX_PENALTY, le=MAX_PENALTY)]
_TokenId: TypeAlias = Annotated[str, Meta(pattern=f"^{TOKEN_ID}$")]
_Bias: TypeAlias = Annotated[float, Meta(ge=-MAX_BIAS, le=MAX_BIAS)]
_Top: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_TOP)]


class _SampledBody(Body, frozen=True, kw_only=True):
    model: Label | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=MAX_INT32)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: int | None = None
    stop: Label | list[Label] | None = None
    ignore_eos: bool | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    repetition_penalty: Annotated[float, Meta(ge=LEAST_FACTOR, le=MOST_FACTOR)] | None = None
    logit_bias: dict[_TokenId, _Bias | None] | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=MAX_INT32)] | None = None
    structured_outputs: StructuredOutputsBody | None = None
    user: str | None = None
    safety_identifier: str | None = None
    service_tier: AskedTier | None = None


class _ResponseBody(_SampledBody, frozen=True, kw_only=True):
    input: Label | Annotated[list[InputMessage], Meta(min_length=1)]
    instructions: str | None = None
    tools: list[FunctionToolBody] | None = None
    tool_choice: ToolMode | ChosenFunctionBody | None = None
    previous_response_id: Label | None = None
    max_output_tokens: _Count | None = None
    store: bool | None = None
    generate: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: dict[str, str] | None = None
    prompt_cache_key: str | None = None
    parallel_tool_calls: bool | None = None
    text: TextBody | None = None
    include: list[Literal["message.output_text.logprobs"]] | None = None
    top_logprobs: _Top | None = None


class CreateResponseBody(_ResponseBody, frozen=True, kw_only=True):
    """`generate` false prefills the context and writes no text."""

    stream: bool | None = None


class ResponseCreateEvent(_ResponseBody, frozen=True, kw_only=True, tag_field="type", tag="response.create"):
    """Asks for a reply in a lane; without `stream_id`, in the default lane."""

    stream: Annotated[bool, Meta(extra_json_schema={"const": True})] | None = None
    stream_id: _LaneName | None = None
    event_id: Label | None = None


class ResponseCancelEvent(Body, frozen=True, kw_only=True, tag_field="type", tag="response.cancel"):
    """Ends a response early. The answer is its terminal event, status `cancelled`."""

    response_id: Label
    stream_id: Any = None
    event_id: Label | None = None


class InputTokensBody(Body, frozen=True, kw_only=True):
    model: Label | None = None
    input: Label | Annotated[list[InputMessage], Meta(min_length=1)]
    instructions: str | None = None
    tools: list[FunctionToolBody] | None = None
    tool_choice: ToolMode | ChosenFunctionBody | None = None
    previous_response_id: Label | None = None
    truncation: Literal["auto", "disabled"] | None = None
    parallel_tool_calls: bool | None = None
    text: TextBody | None = None


class StreamOptionsBody(Body, frozen=True, kw_only=True):
    include_usage: bool | None = None


class ChatBody(_SampledBody, frozen=True, kw_only=True):
    """`max_tokens` is the older name of `max_completion_tokens`."""

    messages: Annotated[list[ChatInputMessage], Meta(min_length=1)]
    tools: list[ChatToolBody] | None = None
    tool_choice: ToolMode | ChatChosenFunctionBody | None = None
    stream: bool | None = None
    stream_options: StreamOptionsBody | None = None
    max_completion_tokens: _Count | None = None
    logprobs: bool | None = None
    top_logprobs: _Top | None = None
    response_format: TextFormatBody | JsonObjectFormatBody | ChatJsonSchemaFormatBody | None = None
    max_tokens: _Count | None = None
    metadata: dict[str, str] | None = None
    prompt_cache_key: str | None = None
    parallel_tool_calls: bool | None = None


class CompletionBody(_SampledBody, frozen=True, kw_only=True):
    """Without `max_tokens` the reply may go on to the context's end."""

    prompt: Label | Annotated[list[Label], Meta(min_length=1, max_length=1)]
    logprobs: Annotated[int, Meta(ge=0, le=MAX_COMPLETION_TOP)] | None = None
    stream: bool | None = None
    stream_options: StreamOptionsBody | None = None
    max_tokens: _Count | None = None


class ModerationTextPart(Body, frozen=True, kw_only=True):
    type: Literal["text"]
    text: str


class ModerationBody(Body, frozen=True, kw_only=True):
    """Each string has a result of its own; text parts, not mixed with strings, are the lines of one input."""

    input: str | Annotated[list[str | ModerationTextPart], Meta(min_length=1)]
    model: Label | None = None


class ExpiresAfterBody(Body, frozen=True, kw_only=True):
    anchor: Literal["created_at"] | None = None
    seconds: Annotated[int, Meta(ge=10, le=7200)] | None = None


class SecretSessionBody(Body, frozen=True, kw_only=True):
    type: Literal["realtime"] | None = None


class LoadModelBody(Body, frozen=True, kw_only=True):
    """`source`: a path on the server's machine, or the name of a model in its cache."""

    source: str


class ClientSecretBody(Body, frozen=True, kw_only=True):
    expires_after: ExpiresAfterBody | None = None
    session: SecretSessionBody | None = None


class LoadAdapterBody(Body, frozen=True, kw_only=True):
    lora_name: Label
    lora_path: Label


class UnloadAdapterBody(Body, frozen=True, kw_only=True):
    lora_name: Label
