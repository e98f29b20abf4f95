"""Offering functions to the model, in both shapes, and how it may choose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from msgspec import Struct

from protocol.codec import encode, nests_deeper
from protocol.limits import Limits
from protocol.requests.fields import Fields, invalid, missing, nested, unsupported
from protocol.requests.message import read_function_name
from protocol.requests.sampling import SampledFields
from protocol.tools import FunctionTool, NamedFunction, ToolChoice

MOST_TOLD: Final = 8  # function names, of at most 64 characters


class Offer(Struct, frozen=True):
    """The functions of a request. `parallel`: a reply may have several calls."""

    tools: tuple[FunctionTool, ...] = ()
    choice: ToolChoice = "auto"
    parallel: bool = True

    @property
    def told(self) -> tuple[FunctionTool, ...]:
        """Those that the model is told of."""
        return () if self.choice == "none" else self.tools

    @property
    def open(self) -> tuple[FunctionTool, ...]:
        """Those that the model may call."""
        match self.choice:
            case NamedFunction(name):
                return tuple(tool for tool in self.tools if tool.name == name)
            case _:
                return self.told

    @property
    def forced(self) -> bool:
        """Whether the reply must be a call."""
        return self.choice == "required" or self.named

    @property
    def named(self) -> bool:
        return isinstance(self.choice, NamedFunction)


def read_tools(fields: Fields, limits: Limits) -> Offer:
    """`tools`, `tool_choice` and `parallel_tool_calls` of a response."""
    return _read_offer(fields, limits, lambda tool: tool, lambda choice: choice)


def read_chat_tools(fields: Fields, limits: Limits) -> Offer:
    """The same of a chat completion, where a function stands one level deeper."""
    return _read_offer(fields, limits, _function, _function)


def check_offer(offer: Offer, sampled: SampledFields) -> None:
    """Refuse what cannot go together with functions."""
    if offer.open and sampled["ignore_eos"]:
        raise invalid("ignore_eos", "false beside 'tools'")


_Inner: TypeAlias = Callable[[Fields], Fields]


def _read_offer(fields: Fields, limits: Limits, of_tool: _Inner, of_choice: _Inner) -> Offer:
    tools = _read_tools(fields, limits, of_tool)
    choice = _read_choice(fields, [tool.name for tool in tools], of_choice)
    parallel = fields.flag("parallel_tool_calls")
    return Offer(tools, choice, parallel is not False)


def _read_tools(fields: Fields, limits: Limits, inner: _Inner) -> tuple[FunctionTool, ...]:
    value = fields.take("tools")
    path = fields.path("tools")
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > limits.max_tools:
        raise invalid(path, f"an array of at most {limits.max_tools} functions")
    tools = tuple(
        _read_tool(nested(tool, f"{path}[{index}]"), limits, inner) for index, tool in enumerate(value)
    )
    for index, tool in enumerate(tools):
        if any(tool.name == other.name for other in tools[:index]):
            raise invalid(f"{path}[{index}]", "a function with a name of its own")
    if len(encode(tools)) > limits.max_tools_bytes:
        raise invalid(path, f"functions of at most {limits.max_tools_bytes} bytes of JSON in all")
    return tools


def _read_tool(tool: Fields, limits: Limits, inner: _Inner) -> FunctionTool:
    kind = tool.required("type")
    if kind != "function":
        if not isinstance(kind, str):
            raise invalid(tool.path("type"), "'function'")
        raise unsupported(tool.path("type"), "names a tool other than a function, which is not supported")
    function = inner(tool)
    read = FunctionTool(
        name=read_function_name(function),
        description=function.text("description"),
        parameters=_read_parameters(function, limits),
        strict=function.flag("strict"),
    )
    function.finish()
    tool.finish()
    return read


def _read_parameters(function: Fields, limits: Limits) -> dict[str, Any] | None:
    value = function.take("parameters")
    path = function.path("parameters")
    if value is None:
        return None
    if not isinstance(value, dict) or value.get("type", "object") != "object":
        raise invalid(path, "the schema of an object")
    source = encode(value)
    if len(source) > limits.max_schema_bytes:
        raise invalid(path, f"a schema of at most {limits.max_schema_bytes} bytes of JSON")
    if nests_deeper(source, limits.max_tool_nesting):
        raise invalid(path, f"a schema of at most {limits.max_tool_nesting} levels")
    return value


def _read_choice(fields: Fields, names: Sequence[str], inner: _Inner) -> ToolChoice:
    value = fields.take("tool_choice")
    path = fields.path("tool_choice")
    match value:
        case None | "auto":
            return "auto"
        case "none":
            return "none"
        case "required":
            if not names:
                raise invalid(path, "'auto' or 'none' without functions in 'tools'")
            return "required"
        case {"type": "function"}:
            choice = nested(value, path)
            choice.take("type")
            function = inner(choice)
            name = read_function_name(function)
            function.finish()
            choice.finish()
            if name not in names:
                raise invalid(path, f"a function that is in 'tools' ({_told(names)}), not {name!r}")
            return NamedFunction(name)
        case {"type": str()}:
            raise unsupported(path, "names a choice that is not supported")
        case _:
            raise invalid(path, "'auto', 'none', 'required' or a function")


def _told(names: Sequence[str]) -> str:
    """For an error, which must not be as long as the request."""
    more = len(names) - MOST_TOLD
    shown = ", ".join(map(repr, names[:MOST_TOLD])) or "none"
    return f"{shown}{f' and {more} more' if more > 0 else ''}"


def _function(fields: Fields) -> Fields:
    function = fields.inner("function")
    if function is None:
        raise missing(fields.path("function"))
    return function
