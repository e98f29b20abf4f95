"""Masks of calls: what may be said where calls are forced, and where they are free."""

from __future__ import annotations

from itertools import takewhile

import pytest

from engine.calls.grammar import calls_format
from engine.calls.hermes import HERMES
from engine.calls.qwen_coder import QWEN_CODER
from engine.calls.syntax import CallSyntax
from engine.request import EngineError, OutputFormat, Tool
from tests.engine.calls.families import ALL, CITY, SYNTAXES, written
from tests.engine.test_grammar import END, compiler, regex, schema

TOOLS = [Tool("weather", "d", CITY), Tool("f", "d", {"type": "object", "properties": {}})]


def shared(one: str, other: str) -> str:
    """What both begin with."""
    return "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def taken(syntax: CallSyntax, text: str, *, forced: bool, parallel: bool = True) -> tuple[str, bool]:
    """How much of `text` may be said, and whether the reply may end there."""
    format = calls_format(syntax, TOOLS, forced=forced, parallel=parallel, param="tools")
    state = compiler().compile(format, "salt").follow()
    for at, byte in enumerate(text.encode()):
        if not state.allowed()[byte]:
            return text.encode()[:at].decode(errors="ignore"), bool(state.allowed()[END])
        state.follow(byte)
    return text, bool(state.allowed()[END])


@SYNTAXES
def test_forced_reply_is_a_call_and_nothing_else(syntax: CallSyntax) -> None:
    rome = ("weather", '{"city": "Rome"}')
    call, calls = written(syntax, rome), written(syntax, rome, rome)
    assert taken(syntax, "Well", forced=True) == ("", False)
    assert taken(syntax, call, forced=True) == (call, True)
    assert taken(syntax, calls, forced=True) == (calls, True)
    assert taken(syntax, calls, forced=True, parallel=False)[0] == shared(call, calls)


@SYNTAXES
@pytest.mark.parametrize("forced", [True, False])
def test_call_that_began_is_of_an_offered_function_and_its_schema(syntax: CallSyntax, forced: bool) -> None:
    rome, paris = (written(syntax, ("weather", f'{{"city": "{city}"}}')) for city in ("Rome", "Paris"))
    assert taken(syntax, paris, forced=forced) == (shared(rome, paris), False)
    weather, unknown = (written(syntax, (name, "{}")) for name in ("weather", "g"))
    assert taken(syntax, unknown, forced=forced) == (shared(weather, unknown), False)


@SYNTAXES
def test_free_reply_is_any_text_with_calls_or_without(syntax: CallSyntax) -> None:
    call = written(syntax, ("f", "{}"))
    for text in ("", "Hi <tool_cal {", call, f"Well. {call} And {call}\nSo."):
        assert taken(syntax, text, forced=False) == (text, True)


COUNT = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}
REFERRING = Tool(
    "tree",
    "d",
    {
        "type": "object",
        "properties": {"leaf": {"$ref": "#/$defs/leaf"}},
        "required": ["leaf"],
        "additionalProperties": False,
        "$defs": {"leaf": {"enum": ["oak"]}},
    },
)


def taken_of(syntax: CallSyntax, text: OutputFormat, said: str, *tools: Tool) -> tuple[str, bool]:
    """As `taken`, where what is no call is of a format."""
    format = calls_format(syntax, tools, forced=False, parallel=True, param="tools", text=text)
    state = compiler().compile(format, "salt").follow()
    for at, byte in enumerate(said.encode()):
        if not state.allowed()[byte]:
            return said.encode()[:at].decode(errors="ignore"), False
        state.follow(byte)
    return said, bool(state.allowed()[END])


@SYNTAXES
def test_a_reply_of_a_format_is_of_it_or_calls_and_never_both(syntax: CallSyntax) -> None:
    text = schema({**COUNT, "additionalProperties": False})
    rome, oak = ("weather", '{"city": "Rome"}'), ("tree", '{"leaf": "oak"}')
    call, tree, both = written(syntax, rome), written(syntax, oak), written(syntax, rome, oak)
    for whole in ('{"number": 3}', call, both):
        assert taken_of(syntax, text, whole, *TOOLS, REFERRING) == (whole, True)
    for begun in ('{"number": 3}', call):
        assert taken_of(syntax, text, begun + " and", *TOOLS, REFERRING)[0] == begun
    elm = written(syntax, ("tree", '{"leaf": "elm"}'))
    assert taken_of(syntax, text, elm, *TOOLS, REFERRING) == (shared(tree, elm), False)


def test_a_reply_of_a_regular_expression_is_its_match_or_calls() -> None:
    text = regex("[0-9]{2}")
    call = HERMES.written("weather", '{"city": "Rome"}')
    assert taken_of(HERMES, text, "42", *TOOLS) == ("42", True)
    assert taken_of(HERMES, text, call, *TOOLS) == (call, True)
    assert taken_of(HERMES, text, "4<", *TOOLS) == ("4", False)


def test_what_is_compiled_with_a_text_is_kept_by_both() -> None:
    one, other = regex("[0-9]{2}"), regex("[0-9]{3}")

    def format(text: OutputFormat) -> OutputFormat:
        return calls_format(HERMES, TOOLS, forced=False, parallel=True, param="tools", text=text)

    made = compiler().compile(format(one), "both")
    assert compiler().kept(format(one), "both") is made
    assert compiler().kept(format(other), "both") is None


@SYNTAXES
@pytest.mark.parametrize("forced", [True, False])
def test_functions_whose_schemas_are_too_much_to_compile_are_refused_by_name(
    syntax: CallSyntax, forced: bool
) -> None:
    large = Tool("large", "d", {"type": "object", "properties": {"n": {"multipleOf": 99_999_989}}})
    format = calls_format(syntax, [*TOOLS, large], forced=forced, parallel=True, param="tools")
    with pytest.raises(EngineError, match="multipleOf") as refused:
        compiler().compile(format, "salt")
    assert (refused.value.code, refused.value.param) == ("invalid_value", "tools")


def test_schemas_are_looked_at_where_the_format_is_compiled() -> None:
    lost = Tool("lost", "d", {"type": "object", "properties": 3})
    format = calls_format(QWEN_CODER, [lost], forced=True, parallel=True, param="tools")
    assert compiler().kept(format, "salt") is None
    with pytest.raises(EngineError, match="'properties'"):
        compiler().compile(format, "salt")


def test_formats_are_the_same_only_where_all_that_they_allow_is() -> None:
    sources = {
        calls_format(syntax, tools, forced=forced, parallel=parallel, param="tools").source
        for syntax in ALL.values()
        for tools in (TOOLS, TOOLS[:1])
        for forced in (True, False)
        for parallel in (True, False)
    }
    assert len(sources) == len(ALL) * 8
