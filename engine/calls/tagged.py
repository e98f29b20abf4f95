"""Calls whose arguments stand between tags, one by one, strings without quotes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from engine.calls.kinds import ArgumentKinds
from engine.calls.parameter_rules import parameter_rules
from engine.calls.parameters import CLOSE, Parameters
from engine.calls.pattern import NAME, SPACE, Pattern, literal
from engine.calls.syntax import CallSyntax, SchemaError

_END: Final = "</function>\n</tool_call>"


@dataclass(frozen=True, slots=True)
class TaggedSyntax(CallSyntax):
    @property
    def trigger(self) -> str:
        return "<tool_call>"

    def called(self, name: str, arguments: str, call_id: str = "") -> str:
        return _opening(name) + _parameters(arguments) + _END

    def heads(self) -> tuple[Pattern, ...]:
        return (Pattern(SPACE, *literal("<tool_call>"), SPACE, *literal("<function="), NAME, ">"),)

    def tails(self) -> tuple[Pattern, ...]:
        return (Pattern(SPACE, *literal("</tool_call>")),)

    def reader(self, schema: Mapping[str, Any]) -> Callable[[], Parameters]:
        try:
            expected = ArgumentKinds(schema)
        except SchemaError:  # such a call is not masked either
            expected = ArgumentKinds({})
        return partial(Parameters, expected)

    def rules(self, index: int, name: str, schema: Mapping[str, Any], said: str) -> list[str]:
        parameters, rules = parameter_rules(schema, index)
        opening = json.dumps(_opening(name).removeprefix(said))
        return [f"call_{index}: {opening} {parameters} {json.dumps(_END)}", *rules]


def _opening(name: str) -> str:
    return f"<tool_call>\n<function={name}>\n"


def _parameters(arguments: str) -> str:
    """What is no whole object stays as it is."""
    try:
        values = json.loads(arguments)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        return f"{arguments}\n"
    return "".join(f"<parameter={key}>\n{_written(value)}\n{CLOSE}\n" for key, value in values.items())


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
