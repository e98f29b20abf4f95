"""Parts of a schema by themselves."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from engine.calls.references import References
from engine.calls.syntax import SchemaError

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


@pytest.mark.parametrize("reference", ["#/nowhere", "#/$defs/tree/type", "elsewhere#/x", 5, None])
def test_reference_to_no_schema(reference: object) -> None:
    with pytest.raises(SchemaError, match="refers to no schema"):
        References(ROOT).target(reference)
