"""Calls that are a name, and then the arguments as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from engine.calls.arguments import JsonArguments
from engine.calls.pattern import NAME, SPACE, Pattern, literal
from engine.calls.syntax import CallSyntax
from engine.json_rule import json_rule

_ID: Final = "[A-Za-z0-9]{0,64}"


@dataclass(frozen=True, slots=True)
class NamedSyntax(CallSyntax):
    """`before`, the name, `id_mark` and an id where there is such a mark, `middle`, the arguments, `behind`. What has
    an `opener` has something `behind` its calls."""

    before: str
    middle: str
    behind: str = ""
    id_mark: str = ""

    @property
    def trigger(self) -> str:
        return self.opener or self.before

    def called(self, name: str, arguments: str, call_id: str = "") -> str:
        id = f"{self.id_mark}{call_id}" if self.id_mark else ""
        return f"{self.before}{name}{id}{self.middle}{arguments}{self.behind}"

    def heads(self) -> tuple[Pattern, ...]:
        return self._heads(*literal(self.opener))

    def next_heads(self) -> tuple[Pattern, ...]:
        return self._heads() if self.opener else ()

    def _heads(self, *first: str) -> tuple[Pattern, ...]:
        begin = (SPACE, *first, SPACE, *literal(self.before), SPACE, NAME, SPACE)
        end = (*literal(self.middle), SPACE, r"(?=\{)")
        plain = Pattern(*begin, *end)
        if not self.id_mark:
            return (plain,)
        return plain, Pattern(*begin, *literal(self.id_mark), SPACE, _ID, SPACE, *end)

    def tails(self) -> tuple[Pattern, ...]:
        if not self.behind:
            return ()
        end = (SPACE, *literal(self.behind))
        return Pattern(*end, SPACE, *literal(self.closer)), Pattern(*end)

    def reader(self, schema: Mapping[str, Any]) -> Callable[[], JsonArguments]:
        return JsonArguments

    def rules(self, index: int, name: str, schema: Mapping[str, Any], said: str) -> list[str]:
        opening = json.dumps(f"{self.before}{name}".removeprefix(said))
        id = f"{json.dumps(self.id_mark)} /[A-Za-z0-9]{{9}}/ " if self.id_mark else ""
        behind = f" {json.dumps(self.behind)}" if self.behind else ""
        return [
            f"call_{index}: {opening} {id}{json.dumps(self.middle)} arguments_{index}{behind}",
            f"arguments_{index}: {json_rule(schema)}",
        ]
