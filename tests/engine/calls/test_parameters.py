"""Arguments between tags, read as JSON by their schema."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.calls.kinds import KINDS, Kinds
from engine.calls.parser import CallParser
from engine.calls.pieces import Arguments, CallBegin, CallEnd
from engine.calls.qwen_coder import QWEN_CODER
from tests.engine.calls.families import written

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "share": {"type": "number"},
        "dry": {"type": "boolean"},
        "where": {"type": "object"},
        "list": {"type": "array"},
        "note": {"type": ["string", "null"]},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "color": {"enum": ["red", "1", 2]},
        "fixed": {"const": "x"},
        "tree": {"$ref": "#/$defs/a~1b"},
        "all": {"allOf": [{"type": ["string", "integer"]}, {"type": ["integer", "null"]}]},
        "loop": {"$ref": "#/properties/loop"},
        "lost": {"$ref": "elsewhere#/x"},
        "free": {},
    },
    "$defs": {"a/b": {"type": "string"}},
}


def call(**values: str) -> str:
    parameters = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values.items())
    return f"<tool_call>\n<function=f>\n{parameters}</function>\n</tool_call>"


def arguments(text: str, schema: dict[str, Any] = SCHEMA) -> tuple[str, bool]:
    """The JSON that the first call's pieces make, and whether the call ended, the text cut into characters."""
    parser = CallParser(QWEN_CODER, {"f": schema})
    pieces = [piece for char in text for piece in parser.push(char)] + parser.finish()
    return "".join(p.text for p in pieces if isinstance(p, Arguments)), any(
        isinstance(p, CallEnd) for p in pieces
    )


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("city", "Rome", "Rome"),
        ("city", "12", "12"),
        ("city", "", ""),
        ("city", ' "quoted" \\ ', ' "quoted" \\ '),
        ("city", "\nlines\n", "\nlines\n"),
        ("city", "a </par < b", "a </par < b"),
        ("days", " 2 ", 2),
        ("days", "two", "two"),
        ("days", "2.5", 2.5),
        ("share", "2", 2),
        ("share", "0.50", 0.5),
        ("share", "NaN", "NaN"),
        ("dry", "True", True),
        ("dry", "false", False),
        ("where", '{"a": "</parameter>"}', {"a": "</parameter>"}),
        ("where", "{'a': 1}", "{'a': 1}"),
        ("list", '["a", 1]', ["a", 1]),
        ("list", "[" * 5000, "[" * 5000),
        ("note", "None", None),
        ("note", "null", None),
        ("note", "5", "5"),
        ("either", "5", 5),
        ("either", '"5"', "5"),
        ("either", "five", "five"),
        ("color", "red", "red"),
        ("color", "2", 2),
        ("fixed", "x", "x"),
        ("tree", "5", "5"),
        ("all", "5", 5),
        ("loop", "5", 5),
        ("lost", "5", 5),
        ("free", "text", "text"),
        ("free", '"text"', "text"),
        ("other", "[1]", [1]),
    ],
)
def test_value_is_of_the_kind_that_its_schema_says(key: str, value: str, read: Any) -> None:
    found, whole = arguments(call(**{key: value}))
    assert whole
    assert json.loads(found) == {key: read}


def test_several_values_and_none() -> None:
    assert arguments(call(city="Rome", days="2", dry="true")) == (
        '{"city": "Rome", "days": 2, "dry": true}',
        True,
    )
    assert arguments(call()) == ("{}", True)


def test_of_two_values_of_a_key_the_first_counts() -> None:
    twice = call(city="Rome").replace("</function>", "<parameter=city>\nOslo\n</parameter>\n</function>")
    assert arguments(twice) == ('{"city": "Rome"}', True)


def test_call_on_one_line() -> None:
    values = "<parameter=city>Rome</parameter><parameter= days >2</parameter>"
    text = f"<tool_call><function=f>{values}</function></tool_call>"
    assert arguments(text) == ('{"city": "Rome", "days": 2}', True)


def test_what_does_not_belong_between_arguments_is_left_out() -> None:
    text = call(city="Rome").replace("</function>", "so < it </param\n</function>")
    assert arguments(text) == ('{"city": "Rome"}', True)


def test_function_that_the_model_forgot_to_close() -> None:
    assert arguments(call(city="Rome").replace("</function>\n", "")) == ('{"city": "Rome"}', True)


def test_text_of_an_object_that_is_no_json_ends_with_its_line() -> None:
    assert arguments(call(where='{"a": "b', city="Rome")) == (
        '{"where": "{\\"a\\": \\"b", "city": "Rome"}',
        True,
    )
    assert arguments(call(where='{"a": "b\\', city="Rome")) == (
        '{"where": "{\\"a\\": \\"b\\\\", "city": "Rome"}',
        True,
    )


def test_strings_leave_as_they_come_and_other_values_at_their_end() -> None:
    parser = CallParser(QWEN_CODER, {"f": SCHEMA})
    assert parser.push("<tool_call>\n<function=f>\n<parameter=city>") == [
        CallBegin("f"),
        Arguments('{"city": "'),
    ]
    assert parser.push('\nRo"') == [Arguments('Ro\\"')]
    assert parser.push("me\n</para") == [Arguments("me")]
    assert parser.push("meter>\n<parameter=days>\n1") == [Arguments('"'), Arguments(', "days": ')]
    assert parser.push("2\n") == []
    assert parser.push("</parameter>\n") == [Arguments("12")]
    assert parser.in_call
    assert parser.push("</function>\n</tool_call>") == [Arguments("}"), CallEnd()]
    assert not parser.in_call


def test_reply_that_ends_within_a_value() -> None:
    assert arguments(call(city="Rome").partition("\n</parameter>")[0] + "\n</") == ('{"city": "Rome', False)
    assert arguments(call(days="12").partition("\n</parameter>")[0]) == ('{"days": ', False)


@pytest.mark.parametrize(
    "schema", [True, None, {"type": 3}, {"type": ["new"]}, {"anyOf": 1, "allOf": 2, "enum": 3}]
)
def test_schema_that_says_nothing_of_a_kind_takes_all(schema: Any) -> None:
    assert Kinds({}).of(schema) == KINDS


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
_KIND = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


@given(st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_.]{0,9}", fullmatch=True), _VALUES, max_size=4))
def test_arguments_that_were_written_are_read_again(values: dict[str, Any]) -> None:
    if any("</parameter>" in value for value in values.values() if isinstance(value, str)):
        return
    schema = {"properties": {key: {"type": _KIND[type(value)]} for key, value in values.items()}}
    found, whole = arguments(written(QWEN_CODER, ("f", json.dumps(values))), schema)
    assert whole
    assert json.loads(found) == values


@pytest.mark.parametrize("cut", ['{"city": "Ro', "[1]", ""])
def test_arguments_that_are_no_whole_object_stay_as_they_are(cut: str) -> None:
    assert f"<function=f>\n{cut}\n</function>" in written(QWEN_CODER, ("f", cut))
