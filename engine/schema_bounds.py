"""Which JSON schemas are small enough to compile: a few bytes of one can ask for gigabytes of automaton (pure).

llguidance makes a state for each remainder of a `multipleOf`, before any of its own limits counts: 100,003 take 25 MB,
1,000,003 take 9 s and 271 MB. Where schemas are combined it makes one for each pair of remainders (997 with 991: 4.3 s,
238 MB), and asks of every pattern with every other whether both can match (20 of them: 3.2 s). A range that ends
at the least integer of 64 bits it splits until the stack is full, which ends the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from math import lcm
from typing import Any, Final

MAX_OBJECTS: Final = 2000
"""JSON objects in all schemas of a format; 1,000 strings take 0.1 s, 1,900 0.5 s, 5,000 2.1 s."""
MAX_MULTIPLE: Final = 1000
"""One `multipleOf`, without its decimal point: 997 takes 5 ms."""
MAX_MULTIPLES: Final = 10_000
"""Their sum: ten near 1,000 take 35 ms."""
MAX_COMBINED_MULTIPLE: Final = 100
"""What all of them have as least common multiple where schemas are combined: each combination may have its own."""
MAX_COMBINED_PATTERNS: Final = 4
"""`pattern`, `format` and `patternProperties` where schemas are combined."""

MAX_PATTERN_CHARS: Final = 4096
"""Of one `pattern`: 8,000 optional words, in 62,890 characters, take 3 s."""
LEAST_INTEGER: Final = -(2**63)
NEAR_LEAST: Final = 1024
"""Integers this near to it are rounded to it on their way."""

_TOLD: Final = frozenset(
    ["title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"]
)
_NAMED: Final = frozenset(["$schema", "$id", "$anchor", "$comment", "$defs", "definitions", "x-guidance"])
_JOINTS: Final = frozenset(["$ref", "anyOf", "oneOf", "patternProperties"])


def excess(schemas: Iterable[Mapping[str, Any]]) -> str | None:
    """What is too much in them, and the way out, for an error; None where nothing is.

    It takes any object for a schema, wherever it stands, because a reference may point anywhere.
    """
    multiples: list[Decimal] = []
    patterns = 0
    combined = False
    objects = 0
    for part in _parts(schemas):
        if not isinstance(part, Mapping):
            if _is_least(part):
                return f"{part} is too near to the least integer of 64 bits. Leave it out, or take one that is greater"
            continue
        objects += 1
        if objects > MAX_OBJECTS:
            return (
                f"more than {MAX_OBJECTS} objects in a schema are too many. Ask for fewer properties at once"
            )
        if _longest_pattern(part) > MAX_PATTERN_CHARS:
            return f"a pattern of more than {MAX_PATTERN_CHARS} characters is too long. Ask for less of it"
        multiples += _multiple(part.get("multipleOf"))
        patterns += _patterns(part)
        combined = combined or _combines(part)
    return _too_many(multiples, combined) or _too_entangled(patterns, combined)


def _parts(schemas: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
    """All that stands in them but lists."""
    waiting: list[Any] = list(schemas)
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
            continue
        yield value
        if isinstance(value, Mapping):
            waiting += value.values()


def _is_least(value: Any) -> bool:
    """Of a number, however it was written."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value - LEAST_INTEGER) <= NEAR_LEAST


def _multiple(value: Any) -> list[Decimal]:
    """None for what is no such number: that the compiler refuses."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return []
    number = Decimal(value) if isinstance(value, int) else Decimal(repr(value))
    return [number] if number.is_finite() and number > 0 else []


def _patterns(part: Mapping[str, Any]) -> int:
    named = part.get("patternProperties")
    own = sum(isinstance(part.get(keyword), str) for keyword in ("pattern", "format"))
    return own + (len(named) if isinstance(named, Mapping) else 0)


def _longest_pattern(part: Mapping[str, Any]) -> int:
    named, own = part.get("patternProperties"), part.get("pattern")
    patterns = [*(named if isinstance(named, Mapping) else ()), *([own] if isinstance(own, str) else ())]
    return max(map(len, patterns), default=0)


def _combines(part: Mapping[str, Any]) -> bool:
    """Whether a value has to satisfy more than one schema."""
    branches = part.get("allOf")
    rules = part.keys() - _TOLD - _NAMED - {"allOf"}
    joints = rules & _JOINTS
    joined = len(joints) + (len(branches) if isinstance(branches, list) else 0)
    return joined > 1 or (joined == 1 and len(rules) > len(joints))


def _too_many(multiples: list[Decimal], combined: bool) -> str | None:
    digits = max((_decimals(number) for number in multiples), default=0)
    together = 1
    total = 0
    for number in multiples:
        if number > MAX_MULTIPLE or (own := int(number.scaleb(_decimals(number)))) > MAX_MULTIPLE:
            return f"a 'multipleOf' of more than {MAX_MULTIPLE}, its decimal point left out, is too large. Leave it out"
        total += own
        together = lcm(together, own * 10 ** (digits - _decimals(number)))
        if combined and together > MAX_COMBINED_MULTIPLE:
            return (
                f"'multipleOf' beside combined schemas (allOf, or $ref, anyOf, oneOf and patternProperties with other "
                f"keywords) may come to {MAX_COMBINED_MULTIPLE} as least common multiple. Write the schema without them"
            )
    if total > MAX_MULTIPLES:
        return f"all 'multipleOf' together are more than {MAX_MULTIPLES}. Leave some out"
    return None


def _too_entangled(patterns: int, combined: bool) -> str | None:
    if not combined or patterns <= MAX_COMBINED_PATTERNS:
        return None
    return (
        f"more than {MAX_COMBINED_PATTERNS} patterns and formats beside combined schemas (allOf, or $ref, anyOf, oneOf "
        "and patternProperties with other keywords) are too many. Write the schema without them"
    )


def _decimals(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    assert isinstance(exponent, int)  # it is finite
    return max(0, -exponent)
