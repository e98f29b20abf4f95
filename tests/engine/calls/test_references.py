"""Parts of a schema by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from engine.calls.references import References
from engine.calls.syntax import SchemaError

SHORT = {"$ref": "#/$defs/tree"}
ROOT = {
    "$defs": {
        "tree": {"type": "array", "items": {"$ref": "#/$defs/leaf~1node"}},
        "leaf/node": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/tree"}]},
        "unused": {"$ref": "#/nowhere"},
    }
}


def test_only_what_is_referred_to_comes_along() -> None:
    alone = References(ROOT).alone({"$id": "x", "$ref": "#/$defs/tree"})
    assert len(alone["$defs"]) == 2
    for value, fits in ((3, False), ([3, [4, []]], True), ([["x"]], False)):
        assert Draft202012Validator(alone).is_valid(value) is fits


def test_schema_without_references_is_itself() -> None:
    assert References(ROOT).alone({"type": "string"}) == {"type": "string"}


@pytest.mark.parametrize("keyword", ["enum", "const", "default", "examples"])
def test_a_value_with_a_key_like_a_keyword_is_a_value(keyword: str) -> None:
    values = [{"$ref": "#/$defs/tree", "$id": "x", "properties": {"$ref": "#/nowhere"}}]
    value = values if keyword in ("enum", "examples") else values[0]
    schema = {"type": "object", "properties": {"tree": {"$ref": "#/$defs/tree"}, "fixed": {keyword: value}}}
    alone = References(ROOT).alone(schema)
    assert alone["properties"]["fixed"] == {keyword: value}
    assert Draft202012Validator(alone).is_valid({"tree": [1], "fixed": values[0]})
    assert not Draft202012Validator(alone).is_valid({"tree": ["x"], "fixed": values[0]})


def test_a_property_may_be_called_like_a_keyword() -> None:
    properties = {
        name: {"$ref": "#/$defs/tree"} for name in ("$id", "$defs", "$ref", "enum", "items", "const")
    }
    alone = References(ROOT).alone({"properties": properties})
    for name in properties:
        for value, fits in (([3], True), (["x"], False)):
            assert Draft202012Validator(alone).is_valid({name: value}) is fits


@pytest.mark.parametrize(
    ("schema", "fitting", "failing"),
    [
        ({"items": SHORT}, [[3]], [["x"]]),
        ({"prefixItems": [SHORT], "items": False}, [[3]], [["x"]]),
        ({"contains": SHORT}, ["x", [3]], ["x"]),
        ({"additionalProperties": SHORT}, {"a": [3]}, {"a": ["x"]}),
        ({"patternProperties": {"a": SHORT}}, {"a": [3]}, {"a": ["x"]}),
        ({"propertyNames": {"not": SHORT}}, {"a": 1}, None),
        ({"not": SHORT}, ["x"], [3]),
        ({"allOf": [SHORT]}, [3], ["x"]),
        ({"anyOf": [SHORT, {"type": "null"}]}, None, ["x"]),
        ({"oneOf": [SHORT, True]}, ["x"], [3]),
        ({"if": SHORT, "then": {"maxItems": 1}, "else": {"minItems": 2}}, [3], [3, 4]),
        ({"dependentSchemas": {"a": {"properties": {"b": SHORT}}}}, {"b": 1}, {"a": 1, "b": 1}),
        ({"unevaluatedProperties": SHORT}, {"a": [3]}, {"a": ["x"]}),
        ({"$defs": {"none": {"$ref": "#/nowhere"}}, "items": SHORT}, [[3]], [["x"]]),
    ],
)
def test_references_are_moved_wherever_a_schema_may_stand(
    schema: dict[str, Any], fitting: object, failing: object
) -> None:
    alone = Draft202012Validator(References(ROOT).alone(schema))
    assert alone.is_valid(fitting)
    assert failing is None or not alone.is_valid(failing)


@pytest.mark.parametrize("reference", ["#/nowhere", "#/$defs/tree/type", "#anchor", "elsewhere#/x", 5, None])
def test_reference_to_no_schema(reference: object) -> None:
    with pytest.raises(SchemaError, match="refers to no schema"):
        References(ROOT).target(reference)
