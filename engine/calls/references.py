"""Parts of a schema by themselves, with what they refer to (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from engine.calls.kinds import referred
from engine.calls.syntax import SchemaError

_ONE: Final = frozenset(
    [
        *(
            "additionalItems",
            "additionalProperties",
            "contains",
            "contentSchema",
            "else",
            "if",
            "items",
            "not",
        ),
        *("propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
    ]
)
_LISTED: Final = frozenset(["allOf", "anyOf", "items", "oneOf", "prefixItems"])
_NAMED: Final = frozenset(["dependencies", "dependentSchemas", "patternProperties", "properties"])
"""Keywords with schemas in them. All others have values, in which `$ref` is a key like any other; some stay behind."""
_BEHIND: Final = frozenset(["$id", "$defs", "definitions"])


class References:
    """References within `root`; `moved` are the schemas that were made of its parts."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self.moved: list[Mapping[str, Any]] = []

    def target(self, reference: Any) -> Mapping[str, Any] | bool:
        """Raises SchemaError where there is no schema."""
        found = referred(reference, self._root)
        if not isinstance(found, Mapping | bool):
            raise SchemaError(f"{json.dumps(reference, ensure_ascii=False)[:100]} refers to no schema in it")
        return found

    def alone(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema by itself: what it refers to comes along. Raises as `target` does."""
        names: dict[str, str] = {}
        alone: dict[str, Any] = _moved(schema, names)
        places: dict[str, Any] = {}
        while len(places) < len(names):
            for reference, name in list(names.items())[len(places) :]:
                places[name] = _moved(self.target(reference), names)
        if places:
            alone["$defs"] = places
        self.moved.append(alone)
        return alone


def _moved(schema: Any, names: dict[str, str]) -> Any:
    """With references to where `names` has them; it gets those that it lacks."""
    if not isinstance(schema, Mapping):
        return schema
    moved = {key: _moved_in(key, value, names) for key, value in schema.items() if key not in _BEHIND}
    reference = moved.get("$ref")
    if isinstance(reference, str):
        moved["$ref"] = f"#/$defs/{names.setdefault(reference, str(len(names)))}"
    return moved


def _moved_in(keyword: str, value: Any, names: dict[str, str]) -> Any:
    match value:
        case Mapping() if keyword in _NAMED:
            return {name: _moved(schema, names) for name, schema in value.items()}
        case Mapping() if keyword in _ONE:
            return _moved(value, names)
        case list() if keyword in _LISTED:
            return [_moved(schema, names) for schema in value]
        case _:
            return value
