"""Which kinds of JSON values a schema takes, and a written value's JSON (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import Any, Final

from engine.calls.syntax import SchemaError

KINDS: Final = frozenset(["array", "boolean", "integer", "null", "number", "object", "string"])
STRING: Final = frozenset(["string"])
MAX_SCHEMAS: Final = 2000
"""That a function's arguments are, combine and refer to; as many take 8 ms."""
MAX_DEPTH: Final = 64
"""Of references and combinations within each other."""
_SPELLED: Final = {"true": "true", "false": "false", "null": "null", "none": "null"}
"""Python's words, which models write too."""


class Kinds:
    """The kinds that schemas within `root` may take; all where it is not clear, as where one refers to itself.

    Each schema is looked at once, however often it is referred to.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._depth = 0
        self._known: dict[int, Set[str]] = {}  # by identity, for they are parts of `root`

    def of(self, schema: Any) -> Set[str]:
        """Raises SchemaError where there is too much to look at."""
        if not isinstance(schema, Mapping):
            return KINDS
        known = self._known.get(id(schema))
        if known is not None:
            return known
        if len(self._known) == MAX_SCHEMAS:
            raise SchemaError(
                f"it refers to and combines more than {MAX_SCHEMAS} schemas. Offer fewer or simpler arguments"
            )
        if self._depth == MAX_DEPTH:
            raise SchemaError(
                f"it refers to and combines schemas more than {MAX_DEPTH} deep. Write out what they refer to"
            )
        self._known[id(schema)] = KINDS  # for those that lead back to it
        self._depth += 1
        found = self._known[id(schema)] = self._found(schema)
        self._depth -= 1
        return found

    def _found(self, schema: Mapping[str, Any]) -> Set[str]:
        found: Set[str] = _of_type(schema.get("type"))
        if "const" in schema:
            found &= {kind_of(schema["const"])}
        if isinstance(values := schema.get("enum"), list):
            found &= {kind_of(value) for value in values}
        for key in ("anyOf", "oneOf"):
            if isinstance(branches := schema.get(key), list):
                found &= frozenset().union(*map(self.of, branches))
        if isinstance(branches := schema.get("allOf"), list):
            found &= KINDS.intersection(*map(self.of, branches))
        if "$ref" in schema:
            found &= self.of(referred(schema["$ref"], self._root))
        return found


class ArgumentKinds:
    """The kinds of a function's arguments, whose schema together is `schema`. Raises SchemaError as `Kinds.of` does."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        kinds = Kinds(schema)
        properties = schema.get("properties")
        declared = properties if isinstance(properties, Mapping) else {}
        self._of = {key: kinds.of(part) for key, part in declared.items()}
        self._others = kinds.of(schema.get("additionalProperties"))

    def of(self, key: str) -> Set[str]:
        return self._of.get(key, self._others)


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
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    found: Any = root
    for part in reference.split("/")[1:]:
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


def is_typed(schema: Mapping[str, Any]) -> bool:
    """Whether its type is one that there is, or some of them, or it has none."""
    types = schema.get("type", [*KINDS])
    types = types if isinstance(types, list) and types else [types]
    return all(isinstance(kind, str) and kind in KINDS for kind in types)


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
