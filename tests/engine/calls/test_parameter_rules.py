"""Masks of arguments between tags: every call that they allow is read as JSON of its schema."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from engine.calls.grammar import calls_format
from engine.calls.parser import CallParser
from engine.calls.pieces import Arguments, CallEnd
from engine.calls.qwen_coder import QWEN_CODER
from engine.request import EngineError, Tool
from tests.engine.calls.families import written
from tests.engine.test_grammar import END, compiler


def of(**properties: Any) -> dict[str, Any]:
    """The schema of an object that has all of these."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def referring(count: int, leaf: dict[str, Any]) -> dict[str, Any]:
    """The schema of so many arguments that refer to the same."""
    return {**of(**{f"a{n}": {"$ref": "#/$defs/leaf"} for n in range(count)}), "$defs": {"leaf": leaf}}


def begin(schema: dict[str, Any]) -> Any:
    format = calls_format(QWEN_CODER, [Tool("f", "d", schema)], forced=True, parallel=False, param="tools")
    return compiler().compile(format, "salt").follow()


def takes(schema: dict[str, Any], text: str) -> bool:
    """Whether the mask lets a reply be this text."""
    state = begin(schema)
    for byte in text.encode():
        if not state.allowed()[byte]:
            return False
        state.follow(byte)
    return bool(state.allowed()[END])


def refusal(schema: dict[str, Any]) -> str:
    with pytest.raises(EngineError) as refused:
        begin(schema)
    assert (refused.value.code, refused.value.param) == ("invalid_value", "tools")
    return refused.value.message


def call(**values: str) -> str:
    parameters = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values.items())
    return f"<tool_call>\n<function=f>\n{parameters}</function>\n</tool_call>"


def read(text: str, schema: dict[str, Any]) -> Any:
    pieces = CallParser(QWEN_CODER, {"f": schema}).push(text)
    assert any(isinstance(piece, CallEnd) for piece in pieces)
    return json.loads("".join(piece.text for piece in pieces if isinstance(piece, Arguments)))


SCHEMAS: list[dict[str, Any]] = [
    of(city={"enum": ["Rome", "Oslo", ""]}, days={"type": "integer", "minimum": 1, "maximum": 9}),
    of(word={"type": "string", "minLength": 2, "maxLength": 6}),
    of(code={"type": "string", "pattern": "^[A-Z]{2}[0-9]+$", "maxLength": 8}),
    of(code={"type": "string", "pattern": "(x|y)z", "maxLength": 8}),
    of(day={"type": "string", "format": "date"}, at={"type": "string", "format": "date-time"}),
    of(id={"type": "string", "format": "uuid"}, time={"type": "string", "format": "time"}),
    of(mail={"type": "string", "format": "email", "maxLength": 20}, ip={"type": "string", "format": "ipv4"}),
    of(five={"const": 5, "enum": [4, 5, True]}),
    {**of(a={"$ref": "#/$defs/x", "type": "integer"}), "$defs": {"x": {"maximum": 9, "minimum": 1}}},
    of(mixed={"enum": ["red", "1", 1, None, "null", True, 2.5, {"a": "</x>"}]}),
    of(fixed={"const": "one\ntwo"}, number={"const": 3}),
    of(note={"type": ["string", "null"], "maxLength": 5}),
    of(
        either={
            "anyOf": [{"type": "integer", "minimum": 5, "maximum": 7}, {"type": "string", "enum": ["a", "5"]}]
        }
    ),
    of(list={"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 3}),
    of(where={**of(x={"type": "boolean"}), "additionalProperties": False}),
    {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/deep"},
            "b": {"type": "array", "items": {"$ref": "#/$defs/leaf"}, "maxItems": 2},
        },
        "required": ["b", "a"],
        "$defs": {"leaf": {"enum": ["oak", 3]}, "deep": {"$ref": "#/$defs/leaf"}},
    },
    {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"type": "null"}, "c": {"type": "boolean"}},
    },
    {
        "type": "object",
        "required": ["more"],
        "additionalProperties": {"type": "integer", "maximum": 100, "minimum": 0},
    },
    {"type": "object", "properties": {"free": {"maxLength": 0}}, "additionalProperties": True},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_whatever_is_said_under_the_mask_satisfies_the_schema(schema: dict[str, Any]) -> None:
    chance = random.Random(7)
    for _ in range(3):
        state, said = begin(schema), bytearray()
        while not state.complete:
            allowed = [byte for byte in range(256) if state.allowed()[byte]]
            plain = [byte for byte in allowed if 32 <= byte < 127]
            byte = chance.choice(plain if plain and chance.random() < 0.9 else allowed)
            said.append(byte)
            state.follow(byte)
        Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(
            read(said.decode(), schema)
        )


def test_arguments_stand_in_the_schemas_order_and_those_that_may_be_left_out_once_at_most() -> None:
    schema = {**of(a={"type": "string"}, b={}, c={"type": "integer"}), "required": ["a", "c"]}
    for text in (call(a="x", b="y", c="1"), call(a="", c="1"), call(a="</parameter", b="", c="1")):
        assert takes(schema, text)
    for text in (call(a="x"), call(c="1", a="x"), call(a="x", b="y", b2="z", c="1"), call(a="x", c="one")):
        assert not takes(schema, text)
    assert not takes(schema, call(a="x", b="y\n</parameter>\n<parameter=b>\nz", c="1"))
    assert takes({"type": "object"}, call())


def test_calls_of_the_history_are_what_the_mask_lets_through() -> None:
    schema = of(city={"type": "string"}, days={"type": "integer"}, tags={"type": "array"})
    values = {"city": "São\nPaulo ", "days": 2, "tags": ["</parameter>", {"a": None}]}
    text = written(QWEN_CODER, ("f", json.dumps(values)))
    assert takes(schema, text)
    assert read(text, schema) == values


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "object", "minProperties": 1}, "'minProperties'"),
        ({"type": "object", "properties": 3}, "'properties'"),
        (of(**{"a>b": {}}), '"a>b"'),
        (of(a={"type": "string", "format": "hostname"}), "'format'"),
        (of(a={"type": "string", "pattern": "^a|b$"}), "parentheses"),
        (of(a={"type": "string", "minLength": 3, "maxLength": 2}), "'minLength'"),
        (of(a={"type": "string", "minLength": "3"}), "whole numbers"),
        (of(a={"type": "string", "anyOf": [{"minLength": 3}]}), "'anyOf'"),
        (of(a={"type": "string", "enum": ["x"], "pattern": "y"}), "'pattern'"),
        (of(a={"enum": ["</parameter>"]}), "cannot be written"),
        (of(a={"type": "string", "enum": [1]}), "no value"),
        (of(a=False), "no value"),
        (of(a={"type": "string", "enum": []}), "no value"),
        (of(a={"const": 1, "enum": [True, 2]}), "no value"),
        (of(a={"$ref": "#/properties/a"}), "itself"),
        (of(a={"$ref": "#/nowhere"}), "refers to no schema"),
        (of(a={"type": "array", "items": {"$ref": "#/nowhere"}}), "refers to no schema"),
        (of(a={"enum": 5}), "'enum'"),
        (of(a={"enum": None}), "'enum'"),
        (of(a={"anyOf": None}), "anyOf"),
        (of(a={"anyOf": [{"type": "poem"}]}), "poem"),
        (of(a={"type": "poem"}), "'type'"),
        (of(a={"type": []}), "'type'"),
        (of(a=5), "no object"),
        (of(a={"type": "string", "format": []}), "'format'"),
        (of(a={"type": "string", "pattern": 3}), "'pattern'"),
        (of(a={"type": "string", "maxLength": -1}), "whole numbers"),
        (of(a={"type": "string", "maxLength": True}), "whole numbers"),
        (of(a={"type": "string", "maxLength": 10**12}), "whole numbers"),
        ({"type": "object", "required": None}, "'required'"),
        ({"type": "object", "required": 5}, "'required'"),
        ({"type": "object", "required": [["a"]]}, "'required'"),
        (referring(300, {"type": "array", "items": {"multipleOf": 997}}), "'multipleOf'"),
        (referring(30, {"type": "array", "items": {"enum": ["x" * 30_000]}}), "characters"),
        (of(a={"type": "integer", "format": "nothing", "pattern": 3, "$ref": "#/nowhere"}), ""),
    ],
)
def test_schema_that_cannot_be_held_is_refused_by_name(schema: dict[str, Any], named: str) -> None:
    assert named in refusal(schema)


@pytest.mark.parametrize("pattern", [r"^a\|b$", "^[|]$", "^(a|b)$", "a|b", r"^x\$", "^[]|]$"])
def test_pattern_with_alternatives_that_its_ends_do_not_share(pattern: str) -> None:
    begin(of(a={"type": "string", "pattern": pattern}))
