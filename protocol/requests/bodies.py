"""Request bodies as clients write them: what the published schemas are made from.

The parsers of this package read them with finer errors than a schema can give; a test holds that both agree.
What is not supported is added to the schemas from the parsers' own tables; limits that are settings are not.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

from protocol.requests.completion import MAX_COMPLETION_TOP
from protocol.requests.format import SCHEMA_NAME
from protocol.requests.message import FUNCTION_NAME
from protocol.requests.sampling import (
    LEAST_FACTOR,
    MAX_BIAS,
    MAX_INT32,
    MAX_PENALTY,
    MAX_TOP,
    MOST_FACTOR,
    TOKEN_ID,
    AskedTier,
)

_Label: TypeAlias = Annotated[str, Meta(min_length=1)]
_LaneName: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,256}$")]
_Count: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_INT32)]
_Penalty: TypeAlias = Annotated[float, Meta(ge=-MAX_PENALTY, le=MAX_PENALTY)]
_TokenId: TypeAlias = Annotated[str, Meta(pattern=f"^{TOKEN_ID}$")]
_Bias: TypeAlias = Annotated[float, Meta(ge=-MAX_BIAS, le=MAX_BIAS)]
_Top: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_TOP)]
_Marks: TypeAlias = list[Any] | None
_FunctionName: TypeAlias = Annotated[str, Meta(pattern=f"^{FUNCTION_NAME}$")]


class _Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class InputTextPart(_Body, frozen=True, kw_only=True, tag_field="type", tag="input_text"):
    text: str
    annotations: _Marks = None
    logprobs: _Marks = None


class OutputTextPart(_Body, frozen=True, kw_only=True, tag_field="type", tag="output_text"):
    """A part of a reply that is fed back."""

    text: str
    annotations: _Marks = None
    logprobs: _Marks = None


class TextPart(_Body, frozen=True, kw_only=True, tag_field="type", tag="text"):
    text: str
    annotations: _Marks = None
    logprobs: _Marks = None


class RefusalPart(_Body, frozen=True, kw_only=True, tag_field="type", tag="refusal"):
    """A part of an assistant's message."""

    refusal: str
    annotations: _Marks = None
    logprobs: _Marks = None


Content: TypeAlias = str | list[InputTextPart | OutputTextPart | TextPart | RefusalPart]
Role: TypeAlias = Literal["user", "assistant", "system", "developer"]


class InputMessage(_Body, frozen=True, kw_only=True):
    """A message of the input. `id` and `status` may stand on a reply that is fed back."""

    type: Literal["message"] | None = None
    role: Role
    content: Content
    id: _Label | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class FunctionCallInput(_Body, frozen=True, kw_only=True, tag_field="type", tag="function_call"):
    """A call that is fed back."""

    call_id: _Label
    name: _FunctionName
    arguments: str
    id: _Label | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class FunctionCallOutputInput(_Body, frozen=True, kw_only=True, tag_field="type", tag="function_call_output"):
    """What a call gave."""

    call_id: _Label
    output: Content
    id: _Label | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class CalledFunctionBody(_Body, frozen=True, kw_only=True):
    name: _FunctionName
    arguments: str


class ChatToolCallBody(_Body, frozen=True, kw_only=True):
    id: _Label
    type: Literal["function"]
    function: CalledFunctionBody


class ChatInputMessage(_Body, frozen=True, kw_only=True):
    """A message of a chat. An assistant's `refusal` or `tool_calls` stand in for content that is null; a tool's has
    the `tool_call_id` of the call that it answers."""

    role: Role | Literal["tool"]
    content: Content | None = None
    refusal: str | None = None
    tool_calls: list[ChatToolCallBody] | None = None
    tool_call_id: _Label | None = None


class _FunctionBody(_Body, frozen=True, kw_only=True):
    name: _FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionToolBody(_FunctionBody, frozen=True, kw_only=True):
    """A function that the model may call; `parameters` is the schema of an object."""

    type: Literal["function"]


class ChatFunctionBody(_FunctionBody, frozen=True, kw_only=True):
    pass


class ChatToolBody(_Body, frozen=True, kw_only=True):
    type: Literal["function"]
    function: ChatFunctionBody


class FunctionNameBody(_Body, frozen=True, kw_only=True):
    name: _FunctionName


class ChosenFunctionBody(_Body, frozen=True, kw_only=True):
    type: Literal["function"]
    name: _FunctionName


class ChatChosenFunctionBody(_Body, frozen=True, kw_only=True):
    type: Literal["function"]
    function: FunctionNameBody


ToolMode: TypeAlias = Literal["auto", "none", "required"]
_Tools: TypeAlias = list[FunctionToolBody] | None


class TextFormatBody(_Body, frozen=True, kw_only=True, tag_field="type", tag="text"):
    pass


class JsonObjectFormatBody(_Body, frozen=True, kw_only=True, tag_field="type", tag="json_object"):
    pass


class JsonSchemaBody(_Body, frozen=True, kw_only=True):
    """The reply satisfies the schema, whatever `strict` says. What the schema may hold the server says by name."""

    name: Annotated[str, Meta(pattern=f"^{SCHEMA_NAME}$")]
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormatBody(JsonSchemaBody, frozen=True, kw_only=True, tag_field="type", tag="json_schema"):
    pass


class ChatJsonSchemaFormatBody(_Body, frozen=True, kw_only=True, tag_field="type", tag="json_schema"):
    json_schema: JsonSchemaBody


class TextBody(_Body, frozen=True, kw_only=True):
    """What the reply must be."""

    format: TextFormatBody | JsonObjectFormatBody | JsonSchemaFormatBody | None = None


class StructuredOutputsBody(_Body, frozen=True, kw_only=True):
    """Another way, as vLLM has it: the whole reply matches `regex`."""

    regex: _Label | None = None


class _SampledBody(_Body, frozen=True, kw_only=True):
    model: _Label | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=MAX_INT32)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: int | None = None
    stop: _Label | list[_Label] | None = None
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
    input: _Label | Annotated[list[InputMessage], Meta(min_length=1)]
    instructions: str | None = None
    tools: _Tools = None
    tool_choice: ToolMode | ChosenFunctionBody | None = None
    previous_response_id: _Label | None = None
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
    event_id: _Label | None = None


class ResponseCancelEvent(_Body, frozen=True, kw_only=True, tag_field="type", tag="response.cancel"):
    """Ends a response early. The answer is its terminal event, status `cancelled`."""

    response_id: _Label
    stream_id: Any = None
    event_id: _Label | None = None


class InputTokensBody(_Body, frozen=True, kw_only=True):
    model: _Label | None = None
    input: _Label | Annotated[list[InputMessage], Meta(min_length=1)]
    instructions: str | None = None
    tools: _Tools = None
    tool_choice: ToolMode | ChosenFunctionBody | None = None
    previous_response_id: _Label | None = None
    truncation: Literal["auto", "disabled"] | None = None
    parallel_tool_calls: bool | None = None
    text: TextBody | None = None


class StreamOptionsBody(_Body, frozen=True, kw_only=True):
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

    prompt: _Label | Annotated[list[_Label], Meta(min_length=1, max_length=1)]
    logprobs: Annotated[int, Meta(ge=0, le=MAX_COMPLETION_TOP)] | None = None
    stream: bool | None = None
    stream_options: StreamOptionsBody | None = None
    max_tokens: _Count | None = None


class ModerationTextPart(_Body, frozen=True, kw_only=True):
    type: Literal["text"]
    text: str


class ModerationBody(_Body, frozen=True, kw_only=True):
    """Each string has a result of its own; text parts, not mixed with strings, are the lines of one input."""

    input: str | Annotated[list[str | ModerationTextPart], Meta(min_length=1)]
    model: _Label | None = None


class ExpiresAfterBody(_Body, frozen=True, kw_only=True):
    anchor: Literal["created_at"] | None = None
    seconds: Annotated[int, Meta(ge=10, le=7200)] | None = None


class SecretSessionBody(_Body, frozen=True, kw_only=True):
    type: Literal["realtime"] | None = None


class LoadModelBody(_Body, frozen=True, kw_only=True):
    """`source`: a path on the server's machine, or the name of a model in its cache."""

    source: str


class ClientSecretBody(_Body, frozen=True, kw_only=True):
    expires_after: ExpiresAfterBody | None = None
    session: SecretSessionBody | None = None


class LoadAdapterBody(_Body, frozen=True, kw_only=True):
    lora_name: _Label
    lora_path: _Label


class UnloadAdapterBody(_Body, frozen=True, kw_only=True):
    lora_name: _Label
