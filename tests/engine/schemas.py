"""Random JSON schemas of what is supported, each with something that satisfies it."""

from __future__ import annotations

import random
from typing import Any

WORDS = ["a", "id", "name", "größe", 'q"uote', "back\\slash", "with space", "东京", ""]


def random_schema(draw: random.Random, depth: int = 3) -> dict[str, Any]:
    """Mostly short: a model with random weights has to come to an end in it."""
    kinds = [_string, _string, _integer, _number, _literal, _enum, _boolean]
    if depth:
        kinds += [_object, _object, _object, _array, _array, _any_of, _reference]
    return draw.choice(kinds)(draw, depth)


def random_root(draw: random.Random) -> dict[str, Any]:
    """An object at the top, as clients ask for it."""
    schema = _object(draw, 3)
    return schema | {"$defs": {"leaf": random_schema(draw, 0), "pair": _array(draw, 1)}}


def _string(draw: random.Random, depth: int) -> dict[str, Any]:
    choices: list[dict[str, Any]] = [
        {"maxLength": draw.randint(0, 8)},
        {"minLength": 1, "maxLength": draw.randint(1, 6)},
        {"pattern": draw.choice(["^[a-z]{1,5}$", "^\\d{2}-[A-F]$", "^(yes|no|ma(y|ybe))$", "^[^a]?b{2,3}$"])},
        {"format": draw.choice(["date", "time", "date-time", "uuid", "ipv4"])},
    ]
    return {"type": "string"} | draw.choice(choices)


def _integer(draw: random.Random, depth: int) -> dict[str, Any]:
    low = draw.randint(-2000, 2000)
    bounds: list[dict[str, Any]] = [
        {"minimum": low, "maximum": low + draw.randint(0, 3000)},
        {"exclusiveMinimum": low, "maximum": low + draw.randint(1, 30)},
        {"minimum": -5, "maximum": 50, "multipleOf": draw.randint(1, 5)},
    ]
    return {"type": "integer"} | draw.choice(bounds)


def _number(draw: random.Random, depth: int) -> dict[str, Any]:
    low = draw.choice([-3.5, 0, 0.25, 10])
    return {"type": "number", "minimum": low, "maximum": low + draw.choice([0.5, 7, 100.25])}


def _literal(draw: random.Random, depth: int) -> dict[str, Any]:
    return {"const": draw.choice([None, 1, "x", True, {"k": [1, None]}, "东"])}


def _enum(draw: random.Random, depth: int) -> dict[str, Any]:
    return {"enum": draw.sample(["red", "green", "dark red", 3, None, False, "é"], draw.randint(1, 4))}


def _boolean(draw: random.Random, depth: int) -> dict[str, Any]:
    return {"type": draw.choice(["boolean", "null", ["boolean", "null"]])}


def _object(draw: random.Random, depth: int) -> dict[str, Any]:
    names = draw.sample(WORDS, draw.randint(0, 4))
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: random_schema(draw, depth - 1) for name in names},
        "required": [name for name in names if draw.random() < 0.7],
        "additionalProperties": False,
    }
    if draw.random() < 0.2:
        schema["additionalProperties"] = random_schema(draw, 0)
    return schema


def _array(draw: random.Random, depth: int) -> dict[str, Any]:
    least = draw.randint(0, 2)
    schema: dict[str, Any] = {
        "type": "array",
        "items": random_schema(draw, depth - 1),
        "minItems": least,
        "maxItems": least + draw.randint(0, 2),
    }
    if draw.random() < 0.3:
        schema["prefixItems"] = [random_schema(draw, 0) for _ in range(draw.randint(1, 2))]
    return schema


def _any_of(draw: random.Random, depth: int) -> dict[str, Any]:
    return {"anyOf": [random_schema(draw, depth - 1) for _ in range(draw.randint(1, 3))]}


def _reference(draw: random.Random, depth: int) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{draw.choice(['leaf', 'pair'])}"}
