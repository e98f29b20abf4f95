"""Functions that a model may call, as the response object shows them, and the calls."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct


class FunctionTool(Struct, frozen=True, tag_field="type", tag="function", kw_only=True):
    """`parameters` is the JSON schema of the arguments' object. With `strict` calls satisfy it or the request is
    refused; without, they do where the schema can be held to."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedFunction(Struct, frozen=True, tag_field="type", tag="function"):
    """The function that must be called."""

    name: str


ToolChoice: TypeAlias = Literal["auto", "none", "required"] | NamedFunction


class FunctionCall(Struct, frozen=True, tag_field="type", tag="function_call", kw_only=True):
    """A call as an item; `arguments` is JSON as the model wrote it, whole unless the status is `incomplete`."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: Literal["in_progress", "completed", "incomplete"]


class FunctionCallOutput(Struct, frozen=True, tag_field="type", tag="function_call_output", kw_only=True):
    """What a call gave, as the client sent it."""

    id: str
    call_id: str
    output: str
    status: Literal["completed"] = "completed"
