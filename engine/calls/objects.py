"""Calls that are JSON objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from engine.calls.arguments import JsonArguments
from engine.calls.pattern import NAME, SPACE, Pattern, literal, member
from engine.calls.syntax import CallSyntax
from engine.json_rule import json_rule

_ID: Final = (",", SPACE, *member("id", '"', r'[^"\\]{0,64}', '"'))


@dataclass(frozen=True, slots=True)
class ObjectSyntax(CallSyntax):
    """`before` and `behind` enclose a call's object, whose members are `name` and `arguments_key`, and maybe an id."""

    before: str
    arguments_key: str
    behind: str

    @property
    def trigger(self) -> str:
        return next(iter(self.spoken), self.before.rstrip()) or '{"name": "'

    @property
    def bare(self) -> str:
        return "" if self.opener or self.before else self.arguments_key

    def opening(self, name: str) -> str:
        """A call up to its arguments."""
        return f'{self.before}{{"name": "{name}", "{self.arguments_key}": '

    @property
    def closing(self) -> str:
        return "}" + self.behind

    def called(self, name: str, arguments: str, call_id: str = "") -> str:
        return self.opening(name) + arguments + self.closing

    def heads(self) -> tuple[Pattern, ...]:
        if not self.opener:
            return self._heads()
        return self._heads(*literal(self.trigger), SPACE, *literal(self.opener.removeprefix(self.trigger)))

    def next_heads(self) -> tuple[Pattern, ...]:
        return self._heads(*literal(self.between.strip())) if self.opener else ()

    def _heads(self, *first: str) -> tuple[Pattern, ...]:
        begin = (SPACE, *first, SPACE, *literal(self.before.rstrip()), SPACE, r"\{", SPACE)
        end = (*member("name", '"', NAME, '"'), ",", SPACE, *member(self.arguments_key), r"(?=\{)")
        kind = (*member("type", *literal('"function"')), ",", SPACE)
        return Pattern(*begin, *end), Pattern(*begin, *kind, *end)

    def tails(self) -> tuple[Pattern, ...]:
        end = (r"\}", SPACE, *literal(self.behind.strip()))
        ends = [(*end, SPACE, *literal(self.closer)), end] if self.closer else [end]
        return tuple(Pattern(SPACE, *id, *end) for id in ((), _ID) for end in ends)

    def reader(self, schema: Mapping[str, Any]) -> Callable[[], JsonArguments]:
        return JsonArguments

    def rules(self, index: int, name: str, schema: Mapping[str, Any], said: str) -> list[str]:
        opening = json.dumps(self.opening(name).removeprefix(said))
        return [
            f"call_{index}: {opening} arguments_{index} {json.dumps(self.closing)}",
            f"arguments_{index}: {json_rule(schema)}",
        ]

    def evidence(self, name: str, arguments: str, call_id: str) -> str:
        if self.closer:  # an id may follow
            return self.opener + self.opening(name) + arguments
        return CallSyntax.evidence(self, name, arguments, call_id)
