"""What a model's own chat template does with tools: tried, not looked up by the model's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from engine.calls.hermes import HERMES
from engine.calls.llama import LLAMA
from engine.calls.syntax import CallSyntax
from engine.request import EngineError, Tool

Render = Callable[[list[dict[str, Any]], list[dict[str, Any]]], str]
"""The rendered text of messages and tools, both as templates take them. Raises EngineError."""

_KNOWN: Final = (HERMES, LLAMA)
_TOOL: Final = Tool("probe_name", "probe_description", {"type": "object", "properties": {}})
_CALL: Final = {"name": _TOOL.name, "arguments": {"probe_key": 1}}
_ASKED: Final = {"role": "user", "content": "probe_question"}
_TALK: Final[list[dict[str, Any]]] = [
    _ASKED,
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "probe_nr1", "type": "function", "function": _CALL}],
    },
    {"role": "tool", "tool_call_id": "probe_nr1", "name": _TOOL.name, "content": "probe_answer"},
]


def template_syntax(render: Render) -> CallSyntax | None:
    """The syntax in which the template writes calls; None if it knows no tools, or a syntax that we do not.

    Such a template is given the tools as `engine.calls.described` has them.
    """
    try:
        offered = render([_ASKED], [_TOOL.shape])
        told = render(_TALK, [_TOOL.shape])
    except EngineError:
        return None
    if _TOOL.description not in offered or "probe_answer" not in told:
        return None
    for syntax in _KNOWN:
        if syntax.written(_TOOL.name, '{"probe_key": 1}') in told:
            return syntax
    return None
