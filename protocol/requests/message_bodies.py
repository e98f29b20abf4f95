"""The messages of a request as clients write them, their parts, and the calls that are fed back."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from protocol.requests.body import Body, FunctionName, Label

_Marks: TypeAlias = list[Any] | None


class InputTextPart(Body, frozen=True, kw_only=True, tag_field="type", tag="input_text"):
    text: str
    annotations: _Marks = None
    logprobs: _Marks = None


class OutputTextPart(Body, frozen=True, kw_only=True, tag_field="type", tag="output_text"):
    """A part of a reply that is fed back."""

    text: str
    annotations: _Marks = None
    logprobs: _Marks = None


class TextPart(Body, frozen=True, kw_only=True, tag_field="type", tag="text"):
    text: str
    annotations: _Marks = None
    logprobs: _Marks = None


class RefusalPart(Body, frozen=True, kw_only=True, tag_field="type", tag="refusal"):
    """A part of an assistant's message."""

    refusal: str
    annotations: _Marks = None
    logprobs: _Marks = None


Content: TypeAlias = str | list[InputTextPart | OutputTextPart | TextPart | RefusalPart]
Role: TypeAlias = Literal["user", "assistant", "system", "developer"]


class InputMessage(Body, frozen=True, kw_only=True):
    """A message of the input. `id` and `status` may stand on a reply that is fed back."""

    type: Literal["message"] | None = None
    role: Role
    content: Content
    id: Label | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class FunctionCallInput(Body, frozen=True, kw_only=True, tag_field="type", tag="function_call"):
    """A call that is fed back."""

    call_id: Label
    name: FunctionName
    arguments: str
    id: Label | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class FunctionCallOutputInput(Body, frozen=True, kw_only=True, tag_field="type", tag="function_call_output"):
    """What a call gave."""

    call_id: Label
    output: Content
    id: Label | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class CalledFunctionBody(Body, frozen=True, kw_only=True):
    name: FunctionName
    arguments: str


class ChatToolCallBody(Body, frozen=True, kw_only=True):
    id: Label
    type: Literal["function"]
    function: CalledFunctionBody


class ChatInputMessage(Body, frozen=True, kw_only=True):
    """A message of a chat. An assistant's `refusal` or `tool_calls` stand in for content that is null; a tool's has
    the `tool_call_id` of the call that it answers."""

    role: Role | Literal["tool"]
    content: Content | None = None
    refusal: str | None = None
    tool_calls: list[ChatToolCallBody] | None = None
    tool_call_id: Label | None = None
