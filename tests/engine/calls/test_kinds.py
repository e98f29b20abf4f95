"""Kinds of schemas that refer to each other, however many they are."""

from __future__ import annotations

from typing import Any

import pytest

from engine.calls.kinds import KINDS, MAX_DEPTH, MAX_SCHEMAS, ArgumentKinds, Kinds
from engine.calls.syntax import SchemaError


def refer(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def test_schema_that_many_branches_lead_back_to_is_looked_at_once() -> None:
    for key in ("anyOf", "oneOf", "allOf"):
        root = {"$defs": {"a": {key: [refer("a")] * 40}}}
        assert Kinds(root).of(refer("a")) == KINDS


def test_schemas_of_which_each_refers_twice_to_the_next_are_looked_at_once() -> None:
    defs: dict[str, Any] = {f"a{n}": {"anyOf": [refer(f"a{n + 1}")] * 2} for n in range(25)}
    root = {"$defs": {**defs, "a25": {"type": ["string", "null"]}}}
    assert Kinds(root).of(refer("a0")) == {"string", "null"}


def test_branch_beside_one_that_leads_back() -> None:
    root = {"$defs": {"a": {"type": "integer", "anyOf": [refer("a"), {"type": "string"}]}}}
    assert Kinds(root).of(refer("a")) == {"integer"}


def test_as_many_schemas_as_may_be_and_one_more() -> None:
    arguments = {f"a{n}": {"type": "string"} for n in range(MAX_SCHEMAS)}
    assert ArgumentKinds({"properties": arguments}).of("a7") == {"string"}
    arguments["more"] = {"type": "string"}
    with pytest.raises(SchemaError, match="fewer"):
        ArgumentKinds({"properties": arguments})


def test_references_as_deep_as_may_be_and_one_deeper() -> None:
    defs: dict[str, Any] = {f"a{n}": refer(f"a{n + 1}") for n in range(MAX_DEPTH - 1)}
    root = {"$defs": {**defs, f"a{MAX_DEPTH - 1}": {"type": "null"}}}
    assert Kinds(root).of(root["$defs"]["a0"]) == {"null"}
    with pytest.raises(SchemaError, match="deep"):
        Kinds(root).of(refer("a0"))


def test_argument_that_is_not_declared_is_of_what_others_are() -> None:
    kinds = ArgumentKinds(
        {"properties": {"a": {"type": "null"}}, "additionalProperties": {"type": "integer"}}
    )
    assert (kinds.of("a"), kinds.of("b")) == ({"null"}, {"integer"})
    assert ArgumentKinds({"properties": []}).of("a") == KINDS
