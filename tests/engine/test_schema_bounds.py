"""Which schemas are too much to compile, and that those of every day are not."""

from __future__ import annotations

import random
from typing import Any

import pytest

from engine.schema_bounds import MAX_COMBINED_PATTERNS, MAX_MULTIPLE, MAX_OBJECTS, excess
from tests.engine.schemas import random_root

PATTERNS: list[dict[str, Any]] = [
    {"pattern": f"^a{{{count}}}$"} for count in range(MAX_COMBINED_PATTERNS + 1)
]


def multiples(*numbers: float) -> dict[str, Any]:
    return {"properties": {str(place): {"multipleOf": number} for place, number in enumerate(numbers)}}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"multipleOf": 99_999_989}, "'multipleOf'"),
        ({"items": {"pattern": "a?" * 2049}}, "pattern"),
        ({"patternProperties": {"b" * 4097: {}}}, "pattern"),
        ({"const": -(2**63)}, "least integer"),
        ({"anyOf": [{"enum": [0, [-(2**63) + 1]]}]}, "least integer"),
        ({"type": "integer", "minimum": -(2.0**63), "maximum": -(2**63)}, "least integer"),
        ({"multipleOf": 1e300}, "'multipleOf'"),
        ({"multipleOf": 10**300}, "'multipleOf'"),
        ({"multipleOf": 1.0003}, "'multipleOf'"),
        (multiples(*range(MAX_MULTIPLE - 11, MAX_MULTIPLE)), "together"),
        ({"enum": [{"multipleOf": 100_003}], "$ref": "#/enum/0"}, "'multipleOf'"),
        ({"properties": {"const": {"multipleOf": 100_003}}}, "'multipleOf'"),
        ({"allOf": [{"multipleOf": 31}, {"multipleOf": 29}]}, "common multiple"),
        ({"multipleOf": 31, "allOf": [{"multipleOf": 29}]}, "common multiple"),
        ({"multipleOf": 31, "anyOf": [{"multipleOf": 29}]}, "common multiple"),
        ({"multipleOf": 31, "$ref": "#/$defs/a", "$defs": {"a": {"multipleOf": 29}}}, "common multiple"),
        ({"anyOf": [{"multipleOf": 31}], "oneOf": [{"multipleOf": 29}]}, "common multiple"),
        ({"patternProperties": {"^a": {"multipleOf": 31}}, **multiples(29)}, "common multiple"),
        ({"allOf": [{"multipleOf": 100}, {"multipleOf": 0.01}]}, "common multiple"),
        ({"type": "string", "allOf": PATTERNS}, "patterns"),
        ({"type": "object", "patternProperties": {each["pattern"]: {} for each in PATTERNS}}, "patterns"),
        ({"format": "date", "pattern": "a", "anyOf": PATTERNS[2:]}, "patterns"),
        ({"properties": {str(count): {} for count in range(MAX_OBJECTS)}}, "objects"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_would_fill_the_memory_or_the_time_is_named(schema: dict[str, Any], words: str) -> None:
    fault = excess([schema])
    assert fault is not None
    assert words in fault
    assert len(fault) < 300


@pytest.mark.parametrize(
    "schema",
    [
        multiples(*range(MAX_MULTIPLE - 9, MAX_MULTIPLE + 1)),
        multiples(0.01, 0.25, 100),
        {"properties": {"multipleOf": {"type": "integer"}, "pattern": {"type": "string"}}},
        {"multipleOf": True},
        {"pattern": "a?" * 2048},
        {"multipleOf": float("inf")},
        {"multipleOf": -7},
        {"allOf": [{"multipleOf": 10}, {"multipleOf": 4}]},
        {"allOf": [multiples(997)], "description": "one branch"},
        {"allOf": "none", "anyOf": [multiples(997)]},
        {"$ref": "#/$defs/a", "description": "b", "$defs": {"a": multiples(31, 29)}},
        {"anyOf": [*PATTERNS, {"type": "null"}]},
        {"type": "string", "allOf": PATTERNS[1:]},
        {"properties": {str(count): {} for count in range(MAX_OBJECTS - 2)}},
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_costs_little_is_let_through(schema: dict[str, Any]) -> None:
    assert excess([schema]) is None


def test_random_schemas_of_every_day_are_let_through() -> None:
    draw = random.Random(3)
    assert not any(excess([random_root(draw)]) for _ in range(300))


def test_all_schemas_of_a_format_count_together() -> None:
    half: dict[str, Any] = {"properties": {str(count): {} for count in range(MAX_OBJECTS // 2)}}
    assert excess([half]) is None
    assert excess([half, half]) is not None
