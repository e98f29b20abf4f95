"""Which replies are calls of the offered functions, as a grammar that masks tokens (pure)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from engine.calls.syntax import CallSyntax
from engine.json_rule import json_rule
from engine.request import OutputFormat, Tool


def calls_format(
    syntax: CallSyntax, tools: Sequence[Tool], *, forced: bool, parallel: bool, param: str
) -> OutputFormat:
    """`forced`: the reply is a call and nothing else; otherwise any text, in which every call that begins is one.
    `parallel`: it may have several."""
    source = _forced(syntax, tools, parallel) if forced else _free(syntax, tools, parallel)
    return OutputFormat("lark", source, param, tuple(tool.parameters for tool in tools))


def _forced(syntax: CallSyntax, tools: Sequence[Tool], parallel: bool) -> str:
    more = '("\\n" call)*' if parallel else ""
    return "\n".join([f"start: call {more}", *_calls(syntax, tools, "")])


def _free(syntax: CallSyntax, tools: Sequence[Tool], parallel: bool) -> str:
    trigger = syntax.trigger
    return "\n".join(
        [
            f"start: (head call){'*' if parallel else '?'} tail",
            "tail: TEXT",
            f"head[lazy]: TEXT {json.dumps(trigger)}",
            r"TEXT: /(.|\n)*/",
            *_calls(syntax, tools, trigger),
        ]
    )


def _calls(syntax: CallSyntax, tools: Sequence[Tool], said: str) -> list[str]:
    """The rule `call`, without what was `said` of it before."""
    rules = [f"call: {' | '.join(f'call_{index}' for index in range(len(tools)))}"]
    for index, tool in enumerate(tools):
        opening = json.dumps(syntax.opening(tool.name).removeprefix(said))
        rules.append(f"call_{index}: {opening} arguments_{index} {json.dumps(syntax.closing)}")
        rules.append(f"arguments_{index}: {json_rule(tool.parameters)}")
    return rules
