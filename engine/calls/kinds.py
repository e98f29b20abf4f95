"""Which kinds of JSON values a schema takes, and a written value's JSON (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import Any, Final

KINDS: Final = frozenset(["array", "boolean", "integer", "null", "number", "object", "string"])
STRING: Final = frozenset(["string"])
_DEPTH: Final = 8  # of references and combinations that are followed
_SPELLED: Final = {"true": "true", "false": "false", "null": "null", "none": "null"}
"""Python's words, which models write too."""


def kinds_of(schema: Any, root: Mapping[str, Any], depth: int = _DEPTH) -> Set[str]:
    """The kinds that `schema`, a part of `root`, may take; all where it is not clear."""
    if not isinstance(schema, Mapping) or not depth:
        return KINDS
    found: Set[str] = _of_type(schema.get("type"))
    if "const" in schema:
        found &= {kind_of(schema["const"])}
    if isinstance(values := schema.get("enum"), list):
        found &= {kind_of(value) for value in values}
    for key in ("anyOf", "oneOf"):
        if isinstance(branches := schema.get(key), list):
            found &= frozenset().union(*(kinds_of(branch, root, depth - 1) for branch in branches))
    if isinstance(branches := schema.get("allOf"), list):
        for branch in branches:
            found &= kinds_of(branch, root, depth - 1)
    if "$ref" in schema:
        found &= kinds_of(referred(schema["$ref"], root), root, depth - 1)
    return found


def kind_of(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case None:
            return "null"
        case _:
            return "object"


def referred(reference: Any, root: Mapping[str, Any]) -> Any:
    """What a reference within `root` points to; None where that is not found."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    found: Any = root
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def value_json(written: str, kinds: Set[str]) -> str:
    """The JSON of a value that is written without quotes where it is a string: `written` itself where it can be."""
    text = written.strip()
    kind = None if kinds == STRING else _kind_of_json(text)
    if kind in kinds or (kind == "integer" and "number" in kinds):
        return text
    word = _SPELLED.get(text.lower())
    if word is not None and _kind_of_json(word) in kinds - STRING:
        return word
    return text if kind is not None and "string" not in kinds else json.dumps(written, ensure_ascii=False)


def _of_type(type: Any) -> Set[str]:
    types = [type] if isinstance(type, str) else type if isinstance(type, list) else []
    named = {kind for kind in types if isinstance(kind, str)}
    if "number" in named:
        named.add("integer")
    return named & KINDS or KINDS


def _kind_of_json(text: str) -> str | None:
    """None for what is no JSON."""
    try:
        return kind_of(json.loads(text, parse_constant=_refuse))
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
