"""Arguments between tags, held to their schema: the rules of a grammar that masks tokens (pure).

They stand in the schema's order, each at most once. What a rule cannot say of an argument is an error, so that every
call that is masked satisfies its schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import Any, Final

from engine.calls.kinds import KINDS, MAX_DEPTH, STRING, ArgumentKinds, is_typed, kind_of, value_json
from engine.calls.parameters import CLOSE
from engine.calls.plain_strings import string_rule
from engine.calls.references import References
from engine.calls.syntax import SchemaError
from engine.json_rule import json_rule
from engine.schema_bounds import excess

_ABOUT: Final = frozenset(
    ["title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment", "type"]
)
_OF_ALL: Final = frozenset(
    ["properties", "required", "additionalProperties", "$defs", "definitions", "$schema", "$id", "strict"]
)
MAX_CHARS: Final = 262_144
"""Of a function's rules: four times the largest schema, for each argument brings along what it refers to."""


def parameter_rules(schema: Mapping[str, Any], index: int) -> tuple[str, list[str]]:
    """What stands between a call's opening and its end, and the rules that this names. Raises SchemaError."""
    if unknown := sorted(schema.keys() - _ABOUT - _OF_ALL):
        raise SchemaError(f"'{unknown[0]}' for all arguments of a function together is not supported")
    required = _required(schema)
    properties = _properties(schema, required)
    expected = ArgumentKinds(schema)
    referred = References(schema)
    needed, room = frozenset(required), MAX_CHARS
    parts: list[str] = []
    rules: list[str] = []
    for number, (key, part) in enumerate(properties.items()):
        if ">" in key or "\n" in key or key != key.strip() or not key:
            raise SchemaError(f"an argument cannot be named {json.dumps(key)} in this model's calls")
        name = f"argument_{index}_{number}"
        parts.append(name if key in needed else f"{name}?")
        added = _argument(name, key, part, expected.of(key), referred)
        rules += added
        room -= sum(map(len, added))
        if room < 0:
            raise SchemaError(
                f"its arguments and what they refer to come to more than {MAX_CHARS} characters. "
                "Let fewer refer to large schemas"
            )
    if fault := excess(referred.moved):
        raise SchemaError(fault)
    return " ".join(parts), rules


def _required(schema: Mapping[str, Any]) -> list[str]:
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(key, str) for key in required):
        raise SchemaError("'required' is no array of names")
    return required


def _properties(schema: Mapping[str, Any], required: list[str]) -> dict[str, Any]:
    """Those that the mask allows: what is declared, and what must be there."""
    properties = schema.get("properties", {})
    if not isinstance(properties, Mapping):
        raise SchemaError("'properties' are no object")
    others = schema.get("additionalProperties", {})
    return {**properties, **dict.fromkeys((key for key in required if key not in properties), others)}


def _argument(name: str, key: str, schema: Any, kinds: Set[str], referred: References) -> list[str]:
    opening, closing = json.dumps(f"<parameter={key}>\n"), json.dumps(f"\n{CLOSE}\n")
    try:
        value = _value(schema, kinds, referred)
    except SchemaError as error:
        raise SchemaError(f"the argument '{key}': {error}") from error
    if value.startswith("%json"):
        return [f"{name}: {opening} {name}_value {closing}", f"{name}_value: {value}"]
    # One terminal with its end, which its text never contains.
    return [f"{name}: {opening} {name.upper()}", f"{name.upper()}: ({value}) {closing}"]


def _value(whole: Any, kinds: Set[str], referred: References) -> str:
    schema = _resolved(whole, referred)
    if not isinstance(schema, Mapping | bool):
        raise SchemaError("its schema is no object")
    if schema is False or not kinds:
        raise SchemaError("no value satisfies its schema")
    if schema is True:
        return string_rule({})
    if not is_typed(schema):
        raise SchemaError(f"its 'type' is none of {', '.join(sorted(KINDS))}")
    if {"enum", "const"} & schema.keys():
        return _one_of(schema, kinds)
    if kinds == STRING:
        return string_rule({key: value for key, value in schema.items() if key not in _ABOUT})
    if "string" in kinds and _free(schema):
        return string_rule({})
    return json_rule(referred.alone(whole))


def _resolved(schema: Any, referred: References) -> Any:
    """What a schema that only refers to another refers to."""
    for _ in range(MAX_DEPTH):
        if not isinstance(schema, Mapping) or "$ref" not in schema or schema.keys() - _ABOUT - {"$ref"}:
            return schema
        schema = referred.target(schema["$ref"])
    raise SchemaError("its schema refers to itself")


def _one_of(schema: Mapping[str, Any], kinds: Set[str]) -> str:
    """A choice of texts, each of which is read as its value."""
    if others := sorted(schema.keys() - _ABOUT - {"enum", "const"}):
        raise SchemaError(f"'{others[0]}' beside 'enum' or 'const' is not supported")
    values = schema.get("enum", [schema.get("const")])
    if not isinstance(values, list):
        raise SchemaError("its 'enum' is no array")
    fixed = json.dumps(schema["const"], ensure_ascii=False) if "const" in schema else None
    texts = []
    for value in values:
        whole = json.dumps(value, ensure_ascii=False)
        if kind_of(value) not in kinds or fixed not in (None, whole):
            continue
        forms = [value, whole] if isinstance(value, str) else [whole]
        text = next((form for form in forms if CLOSE not in form and value_json(form, kinds) == whole), None)
        if text is None:
            raise SchemaError(f"{whole} cannot be written in this model's calls")
        texts.append(json.dumps(text, ensure_ascii=False))
    if not texts:
        raise SchemaError("no value satisfies its schema")
    return " | ".join(texts)


def _free(schema: Any) -> bool:
    """Whether every value of its kinds satisfies it."""
    if not isinstance(schema, Mapping):
        return schema is True
    if not is_typed(schema) or schema.keys() - _ABOUT - {"anyOf"}:
        return False
    branches = schema.get("anyOf", [True])
    return isinstance(branches, list) and all(map(_free, branches))
