"""The functions that a request offers, and its choice among them, as clients write them."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from protocol.requests.body import Body, FunctionName

ToolMode: TypeAlias = Literal["auto", "none", "required"]


class _FunctionBody(Body, frozen=True, kw_only=True):
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionToolBody(_FunctionBody, frozen=True, kw_only=True):
    """A function that the model may call; `parameters` is the schema of an object."""

    type: Literal["function"]


class ChatFunctionBody(_FunctionBody, frozen=True, kw_only=True):
    pass


class ChatToolBody(Body, frozen=True, kw_only=True):
    type: Literal["function"]
    function: ChatFunctionBody


class FunctionNameBody(Body, frozen=True, kw_only=True):
    name: FunctionName


class ChosenFunctionBody(Body, frozen=True, kw_only=True):
    type: Literal["function"]
    name: FunctionName


class ChatChosenFunctionBody(Body, frozen=True, kw_only=True):
    type: Literal["function"]
    function: FunctionNameBody
