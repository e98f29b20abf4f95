"""Arguments between tags, held to their schema: the rules of a grammar that masks tokens (pure).

They stand in the schema's order, each at most once. What a rule cannot say of an argument is an error, so that every
call that is masked satisfies its schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import Any, Final

from engine.calls.kinds import STRING, ArgumentKinds, kind_of, referred, value_json
from engine.calls.parameters import CLOSE
from engine.calls.plain_strings import string_rule
from engine.calls.syntax import SchemaError
from engine.json_rule import json_rule

_ABOUT: Final = frozenset(
    ["title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment", "type"]
)
_OF_ALL: Final = frozenset(
    ["properties", "required", "additionalProperties", "$defs", "definitions", "$schema", "$id", "strict"]
)
_PLACE: Final = "parameters"  # where the whole schema stands in that of one argument


def parameter_rules(schema: Mapping[str, Any], index: int) -> tuple[str, list[str]]:
    """What stands between a call's opening and its end, and the rules that this names. Raises SchemaError."""
    if unknown := sorted(schema.keys() - _ABOUT - _OF_ALL):
        raise SchemaError(f"'{unknown[0]}' for all arguments of a function together is not supported")
    properties = _properties(schema)
    required = frozenset(schema.get("required", ()))
    expected = ArgumentKinds(schema)
    parts, rules = [], []
    for number, (key, part) in enumerate(properties.items()):
        if ">" in key or "\n" in key or key != key.strip() or not key:
            raise SchemaError(f"an argument cannot be named {json.dumps(key)} in this model's calls")
        name = f"argument_{index}_{number}"
        parts.append(name if key in required else f"{name}?")
        rules += _argument(name, key, part, expected.of(key), schema)
    return " ".join(parts), rules


def _properties(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Those that the mask allows: what is declared, and what must be there."""
    properties = schema.get("properties", {})
    if not isinstance(properties, Mapping):
        raise SchemaError("'properties' are no object")
    others = schema.get("additionalProperties", {})
    required = [key for key in schema.get("required", ()) if key not in properties]
    return {**properties, **dict.fromkeys(required, others)}


def _argument(name: str, key: str, schema: Any, kinds: Set[str], root: Mapping[str, Any]) -> list[str]:
    opening, closing = json.dumps(f"<parameter={key}>\n"), json.dumps(f"\n{CLOSE}\n")
    try:
        value = _value(schema, kinds, root)
    except SchemaError as error:
        raise SchemaError(f"the argument '{key}': {error}") from error
    if value.startswith("%json"):
        return [f"{name}: {opening} {name}_value {closing}", f"{name}_value: {value}"]
    # One terminal with its end, which its text never contains.
    return [f"{name}: {opening} {name.upper()}", f"{name.upper()}: ({value}) {closing}"]


def _value(whole: Any, kinds: Set[str], root: Mapping[str, Any]) -> str:
    schema = _resolved(whole, root)
    if not kinds:
        raise SchemaError("no value satisfies its schema")
    if isinstance(schema, Mapping) and {"enum", "const"} & schema.keys():
        return _one_of(schema, kinds)
    if kinds == STRING:
        assert isinstance(schema, Mapping)
        return string_rule({key: value for key, value in schema.items() if key not in _ABOUT})
    if "string" in kinds and _free(schema):
        return string_rule({})
    return json_rule(_alone(whole, root))


def _resolved(schema: Any, root: Mapping[str, Any]) -> Any:
    """What a schema that only refers to another refers to."""
    for _ in range(8):
        if not isinstance(schema, Mapping) or "$ref" not in schema or schema.keys() - _ABOUT - {"$ref"}:
            return schema
        schema = referred(schema["$ref"], root)
    raise SchemaError("its schema refers to itself")


def _one_of(schema: Mapping[str, Any], kinds: Set[str]) -> str:
    """A choice of texts, each of which is read as its value."""
    if others := sorted(schema.keys() - _ABOUT - {"enum", "const"}):
        raise SchemaError(f"'{others[0]}' beside 'enum' or 'const' is not supported")
    values = [schema["const"]] if "const" in schema else schema["enum"]
    texts = []
    for value in values:
        if kind_of(value) not in kinds or ("enum" in schema and value not in schema["enum"]):
            continue
        whole = json.dumps(value, ensure_ascii=False)
        forms = [value, whole] if isinstance(value, str) else [whole]
        text = next((form for form in forms if CLOSE not in form and value_json(form, kinds) == whole), None)
        if text is None:
            raise SchemaError(f"{whole} cannot be written in this model's calls")
        texts.append(json.dumps(text, ensure_ascii=False))
    return " | ".join(texts)


def _free(schema: Any) -> bool:
    """Whether every value of its kinds satisfies it."""
    if not isinstance(schema, Mapping):
        return schema is not False
    branches = schema.get("anyOf", ())
    return not schema.keys() - _ABOUT - {"anyOf"} and all(map(_free, branches))


def _alone(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema by itself: what it refers to within the whole one comes along."""
    if not isinstance(schema, Mapping):
        raise SchemaError("no value satisfies its schema")
    if '"$ref"' not in json.dumps(schema):
        return schema
    return {**_moved(schema), "$defs": {_PLACE: _moved(root)}}


def _moved(part: Any) -> Any:
    """With references to where the whole schema stands then."""
    if isinstance(part, list):
        return [_moved(one) for one in part]
    if not isinstance(part, Mapping):
        return part
    moved = {key: _moved(value) for key, value in part.items() if key != "$id"}
    reference = moved.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = f"#/$defs/{_PLACE}{reference[1:]}"
    return moved
