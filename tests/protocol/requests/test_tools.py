"""Offering functions, in both shapes."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.codec import encode
from protocol.codes import ProtocolError
from protocol.limits import Limits
from protocol.requests.chat import parse_chat
from protocol.requests.create import parse_create, parse_input_tokens
from protocol.requests.tools import Offer
from protocol.tools import FunctionTool, NamedFunction
from tests.protocol.requests.refusal import refusal

LIMITS = Limits()
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
ABOUT = {"name": "weather", "description": "The weather.", "parameters": PARAMETERS, "strict": True}
WEATHER = FunctionTool(name="weather", description="The weather.", parameters=PARAMETERS, strict=True)
TOOL = {"type": "function", **ABOUT}
F = {"type": "function", "name": "f"}


def offer(limits: Limits = LIMITS, **fields: Any) -> Offer:
    return parse_create({"input": "hi", **fields}, limits, socket=False).offer


def chat_offer(**fields: Any) -> Offer:
    return parse_chat({"messages": [{"role": "user", "content": "hi"}], **fields}, LIMITS).offer


def test_functions_are_offered_in_both_shapes() -> None:
    assert offer(tools=[TOOL]) == Offer((WEATHER,))
    assert chat_offer(tools=[{"type": "function", "function": ABOUT}]) == Offer((WEATHER,))
    assert parse_input_tokens({"input": "hi", "tools": [TOOL]}, LIMITS).offer == Offer((WEATHER,))


def test_a_name_is_enough() -> None:
    assert offer(tools=[F]) == Offer((FunctionTool(name="f"),))


def test_a_choice_opens_functions_and_may_force_a_call() -> None:
    both = [TOOL, F]
    for choice, told, names, forced in [
        (None, 2, ["weather", "f"], False),
        ("auto", 2, ["weather", "f"], False),
        ("none", 0, [], False),
        ("required", 2, ["weather", "f"], True),
        (F, 2, ["f"], True),
    ]:
        made = offer(tools=both, tool_choice=choice)
        assert (len(made.told), [tool.name for tool in made.open], made.forced) == (told, names, forced)
    named = chat_offer(
        tools=[{"type": "function", "function": ABOUT}],
        tool_choice={"type": "function", "function": {"name": "weather"}},
    )
    assert named.choice == NamedFunction("weather")


def test_one_call_at_most_can_be_asked_for() -> None:
    assert not offer(tools=[F], parallel_tool_calls=False).parallel
    assert offer(tools=[F], parallel_tool_calls=True).parallel


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"tools": {}}, "invalid_value", "tools"),
        ({"tools": [1]}, "invalid_value", "tools[0]"),
        ({"tools": [{}]}, "missing_required_parameter", "tools[0].type"),
        ({"tools": [{"type": 1}]}, "invalid_value", "tools[0].type"),
        ({"tools": [{"type": "mcp"}]}, "unsupported_parameter", "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].name"),
        ({"tools": [{**F, "name": ""}]}, "invalid_value", "tools[0].name"),
        ({"tools": [{**F, "name": "x" * 65}]}, "invalid_value", "tools[0].name"),
        ({"tools": [{**F, "defer": True}]}, "unsupported_parameter", "tools[0].defer"),
        ({"tools": [{**F, "parameters": []}]}, "invalid_value", "tools[0].parameters"),
        ({"tools": [{**F, "parameters": {"type": "array"}}]}, "invalid_value", "tools[0].parameters"),
        ({"tools": [F, TOOL, F]}, "invalid_value", "tools[2]"),
        ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
        ({"tools": [F], "tool_choice": "maybe"}, "invalid_value", "tool_choice"),
        (
            {"tools": [F], "tool_choice": {"type": "function"}},
            "missing_required_parameter",
            "tool_choice.name",
        ),
        ({"tools": [F], "tool_choice": {**F, "name": "g"}}, "invalid_value", "tool_choice"),
        ({"tools": [F], "ignore_eos": True}, "invalid_value", "ignore_eos"),
    ],
)
def test_an_offer_that_is_refused(fields: dict[str, Any], code: str, param: str) -> None:
    assert refusal(lambda: offer(**fields)) == (code, param)


@pytest.mark.parametrize(
    ("count", "there"),
    [
        (0, "(none), not 'g'"),
        (1, "('f0'), not 'g'"),
        (8, "'f6', 'f7'), not 'g'"),
        (9, "'f6', 'f7' and 1 more), not 'g'"),
        (128, "'f6', 'f7' and 120 more), not 'g'"),
    ],
)
def test_a_choice_that_is_not_on_offer_is_named_with_what_is(count: int, there: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        offer(tools=named(count), tool_choice={**F, "name": "g"})
    assert there in str(refused.value)


def test_a_chat_function_stands_in_its_own_object() -> None:
    missing = refusal(lambda: chat_offer(tools=[{"type": "function", "name": "f"}]))
    assert missing == ("missing_required_parameter", "tools[0].function")


def test_closed_functions_are_in_nobodys_way() -> None:
    assert offer(tools=[F], tool_choice="none", text={"format": {"type": "json_object"}}).open == ()


def named(count: int) -> list[dict[str, Any]]:
    return [{**F, "name": f"f{index}"} for index in range(count)]


def test_as_many_functions_as_the_limit() -> None:
    limits = Limits(max_tools=3)
    for count in (2, 3):
        assert len(offer(limits, tools=named(count)).tools) == count
    assert refusal(lambda: offer(limits, tools=named(4))) == ("invalid_value", "tools")


def test_as_long_in_all_as_the_limit() -> None:
    size = len(encode(offer(tools=named(3)).tools))
    for room in (size + 1, size):
        assert len(offer(Limits(max_tools_bytes=room), tools=named(3)).tools) == 3
    short = Limits(max_tools_bytes=size - 1)
    assert refusal(lambda: offer(short, tools=named(3))) == ("invalid_value", "tools")


def test_a_schema_as_long_and_as_deep_as_the_limits() -> None:
    tools = [{**F, "parameters": PARAMETERS}]
    size = len(encode(PARAMETERS))
    for limits in (
        Limits(max_schema_bytes=size + 1),
        Limits(max_schema_bytes=size),
        Limits(max_tool_nesting=4),
        Limits(max_tool_nesting=3),
    ):
        assert offer(limits, tools=tools).tools
    for limits in (Limits(max_schema_bytes=size - 1), Limits(max_tool_nesting=2)):
        assert refusal(lambda limits=limits: offer(limits, tools=tools)) == (
            "invalid_value",
            "tools[0].parameters",
        )
