"""Which replies are calls of the offered functions, as a grammar that masks tokens (pure)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial

from engine.calls.syntax import CallSyntax, SchemaError
from engine.json_rule import json_rule
from engine.request import EngineError, OutputFormat, Tool


def calls_format(
    syntax: CallSyntax,
    tools: Sequence[Tool],
    *,
    forced: bool,
    parallel: bool,
    param: str,
    text: OutputFormat | None = None,
) -> OutputFormat:
    """`forced`: the reply is a call and nothing else. Otherwise it is any text, in which every call that begins is
    one; with a format for `text`, a text of that format or calls, never both. `parallel`: it may have several.
    """
    if forced:
        text = None
    kind = _forced if forced else _free if text is None else _either
    offered = [(tool.name, tool.parameters) for tool in tools]
    source = json.dumps([repr(syntax), kind.__name__, parallel, offered])
    lark = partial(_lark, kind, syntax, tools, parallel, param)
    return OutputFormat("lark", source, param, tuple(tool.parameters for tool in tools), text, lark)


def _lark(
    kind: Callable[[CallSyntax, Sequence[Tool], bool], str],
    syntax: CallSyntax,
    tools: Sequence[Tool],
    parallel: bool,
    param: str,
) -> str:
    """Raises EngineError `invalid_value` for a schema that the syntax cannot be held to."""
    try:
        return kind(syntax, tools, parallel)
    except SchemaError as error:
        raise EngineError("invalid_value", f"Invalid value for '{param}': {error}.", param=param) from error


def _forced(syntax: CallSyntax, tools: Sequence[Tool], parallel: bool) -> str:
    return "\n".join([f"start: {_several(syntax, parallel)}", *_calls(syntax, tools)])


def _either(syntax: CallSyntax, tools: Sequence[Tool], parallel: bool) -> str:
    calls = _bare_calls(syntax, tools) if syntax.bare else _calls(syntax, tools)
    return "\n".join([f"start: text | {_several(syntax, parallel)}", *calls])


def _free(syntax: CallSyntax, tools: Sequence[Tool], parallel: bool) -> str:
    trigger = syntax.trigger
    # Where a reply's calls do not stand between others' marks each begins with the trigger.
    calls = _several(syntax, parallel, trigger) if syntax.opener else "call"
    return "\n".join(
        [
            f"start: (head {calls}){'*' if parallel else '?'} tail",
            "tail: TEXT",
            f"head[lazy]: TEXT {json.dumps(trigger)}",
            r"TEXT: /(.|\n)*/",
            *_calls(syntax, tools, "" if syntax.opener else trigger),
        ]
    )


def _several(syntax: CallSyntax, parallel: bool, said: str = "") -> str:
    """The calls of a reply, without what was `said` of them before."""
    more = f"({_literal(syntax.between)} call)*" if parallel else ""
    return f"{_literal(syntax.opener.removeprefix(said))} call {more} {_literal(syntax.closer)}"


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text else ""


def _bare_calls(syntax: CallSyntax, tools: Sequence[Tool]) -> list[str]:
    """The rule `call` where a text may be JSON too: a literal that begins like one would be read before any other."""
    rules = [_any_call(tools)]
    for index, tool in enumerate(tools):
        # Its own id, so that references in it are to what is in it.
        arguments = {"$id": f"call:{index}", **tool.parameters}
        members = {"name": {"const": tool.name}, syntax.bare: arguments}
        whole = {"type": "object", "properties": members, "required": list(members)}
        rules.append(f"call_{index}: {json_rule({**whole, 'additionalProperties': False})}")
    return rules


def _any_call(tools: Sequence[Tool]) -> str:
    return f"call: {' | '.join(f'call_{index}' for index in range(len(tools)))}"


def _calls(syntax: CallSyntax, tools: Sequence[Tool], said: str = "") -> list[str]:
    """The rule `call`, without what was `said` of it before."""
    rules = [_any_call(tools)]
    for index, tool in enumerate(tools):
        rules += syntax.rules(index, tool.name, tool.parameters, said)
    return rules
