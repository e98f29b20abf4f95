"""Asking for a reply of a format, in every dialect's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocol.formats import JsonObjectFormat, JsonSchemaFormat
from protocol.limits import Limits
from protocol.requests.chat import parse_chat
from protocol.requests.completion import parse_completion
from protocol.requests.create import parse_create, parse_input_tokens
from protocol.requests.format import AskedFormat
from tests.protocol.requests.refusal import refusal

LIMITS = Limits(max_schema_bytes=200, max_regex_chars=20)
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"ö": {"type": "string"}, "a": {}}}
NAMED = {"name": "reply", "schema": SCHEMA, "strict": True, "description": "A reply."}


def of_response(format: Any, **more: Any) -> AskedFormat | None:
    return parse_create({"input": "hi", "text": {"format": format}, **more}, LIMITS, socket=False).format


def of_chat(format: Any) -> AskedFormat | None:
    body = {"messages": [{"role": "user", "content": "hi"}], "response_format": format}
    return parse_chat(body, LIMITS).format


def of_regex(structured: Any) -> AskedFormat | None:
    return parse_completion({"prompt": "hi", "structured_outputs": structured}, LIMITS).format


def test_text_is_no_format() -> None:
    for format in (None, {"type": "text"}):
        assert of_response(format) is None
        assert of_chat(format) is None
    for structured in (None, {}, {"regex": None, "json": None}):
        assert of_regex(structured) is None


def test_a_schema_is_kept_in_its_order_and_shown_again() -> None:
    asked = of_response({"type": "json_schema", **NAMED})
    assert asked is not None
    assert (asked.kind, asked.param) == ("json_schema", "text.format.schema")
    assert asked.source == json.dumps(SCHEMA, ensure_ascii=False, separators=(",", ":"))
    assert asked.shown == JsonSchemaFormat(**NAMED)
    chat = of_chat({"type": "json_schema", "json_schema": NAMED})
    assert chat == AskedFormat("json_schema", asked.source, "response_format.json_schema.schema", asked.shown)


def test_any_object_and_a_regular_expression() -> None:
    any_object = of_response({"type": "json_object"})
    assert any_object == AskedFormat(
        "json_schema", '{"type":"object"}', "text.format.type", JsonObjectFormat()
    )
    assert of_regex({"regex": "a|b"}) == AskedFormat("regex", "a|b", "structured_outputs.regex")


@pytest.mark.parametrize(
    ("format", "code", "param"),
    [
        ({}, "missing_required_parameter", "type"),
        ({"type": 1}, "invalid_value", "type"),
        ({"type": "grammar"}, "unsupported_parameter", "type"),
        ({"type": "text", "schema": {}}, "unsupported_parameter", "schema"),
        ({"type": "json_object", "schema": {}}, "unsupported_parameter", "schema"),
    ],
)
def test_a_format_that_is_none_is_refused_by_name(format: Any, code: str, param: str) -> None:
    assert refusal(lambda: of_response(format)) == (code, f"text.format.{param}")
    assert refusal(lambda: of_chat(format)) == (code, f"response_format.{param}")


@pytest.mark.parametrize(
    ("schema", "code", "param"),
    [
        ({"schema": SCHEMA}, "missing_required_parameter", "name"),
        ({"name": "a b", "schema": SCHEMA}, "invalid_value", "name"),
        ({"name": "x" * 65, "schema": SCHEMA}, "invalid_value", "name"),
        ({"name": 1, "schema": SCHEMA}, "invalid_value", "name"),
        ({"name": "a"}, "missing_required_parameter", "schema"),
        ({"name": "a", "schema": True}, "invalid_value", "schema"),
        ({"name": "a", "schema": {"const": "x" * 190}}, "invalid_value", "schema"),
        ({"name": "a", "schema": SCHEMA, "strict": 1}, "invalid_value", "strict"),
        ({"name": "a", "schema": SCHEMA, "description": 1}, "invalid_value", "description"),
        ({"name": "a", "schema": SCHEMA, "surprise": 1}, "unsupported_parameter", "surprise"),
    ],
)
def test_a_schema_that_is_none_is_refused_by_name(schema: Any, code: str, param: str) -> None:
    assert refusal(lambda: of_response({"type": "json_schema", **schema})) == (code, f"text.format.{param}")
    nested = {"type": "json_schema", "json_schema": schema}
    assert refusal(lambda: of_chat(nested)) == (code, f"response_format.json_schema.{param}")


def test_a_chats_schema_stands_in_its_own_object() -> None:
    missing = ("missing_required_parameter", "response_format.json_schema")
    assert refusal(lambda: of_chat({"type": "json_schema"})) == missing
    flat = ("unsupported_parameter", "response_format.name")
    assert refusal(lambda: of_chat({"type": "json_schema", "json_schema": NAMED, "name": "a"})) == flat


@pytest.mark.parametrize("pattern", ["", "x" * 21, 1, ["a"]])
def test_a_regular_expression_that_is_none_is_refused_by_name(pattern: Any) -> None:
    assert refusal(lambda: of_regex({"regex": pattern})) == ("invalid_value", "structured_outputs.regex")


def test_what_contradicts_a_format_is_refused_by_name() -> None:
    named = {"type": "json_schema", **NAMED}
    two = ("invalid_value", "structured_outputs.regex")
    assert refusal(lambda: of_response(named, structured_outputs={"regex": "a"})) == two
    assert refusal(lambda: of_response(named, ignore_eos=True)) == ("invalid_value", "ignore_eos")
    assert of_response(None, ignore_eos=True) is None


def test_a_format_does_not_change_how_many_tokens_an_input_has() -> None:
    body = {"input": "hi", "text": {"format": {"type": "json_schema", **NAMED}}}
    assert parse_input_tokens(body, LIMITS) == parse_input_tokens({"input": "hi"}, LIMITS)
    body["text"] = {"format": {"type": "poem"}}
    assert refusal(lambda: parse_input_tokens(body, LIMITS)) == (
        "unsupported_parameter",
        "text.format.type",
    )
