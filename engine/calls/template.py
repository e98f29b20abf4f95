"""What a model's own chat template does with tools: tried, not looked up by the model's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from engine.calls.deepseek import DEEPSEEK
from engine.calls.hermes import HERMES
from engine.calls.llama import LLAMA
from engine.calls.mistral import MISTRAL
from engine.calls.qwen_coder import QWEN_CODER
from engine.calls.syntax import CallSyntax
from engine.request import EngineError, Tool

Render = Callable[[list[dict[str, Any]], list[dict[str, Any]]], str]
"""The rendered text of messages and tools, both as templates take them. Raises EngineError."""

_KNOWN: Final[tuple[CallSyntax, ...]] = (HERMES, QWEN_CODER, *MISTRAL, DEEPSEEK, LLAMA)
_TOOL: Final = Tool("probe_name", "probe_description", {"type": "object", "properties": {}})
_ID: Final = "probenr01"
_ASKED: Final = {"role": "user", "content": "probe_question"}


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
        if syntax.evidence(_TOOL.name, '{"probe_key": 1}', _ID) in told:
            return syntax
    return None


def called(name: str, arguments: Any, call_id: str) -> dict[str, Any]:
    """A reply with one call, as templates take it."""
    function = {"name": name, "arguments": arguments}
    calls = [{"id": call_id, "type": "function", "function": function}]
    return {"role": "assistant", "content": "", "tool_calls": calls}


_ANSWER: Final = {"role": "tool", "tool_call_id": _ID, "name": _TOOL.name, "content": "probe_answer"}
_TALK: Final = [_ASKED, called(_TOOL.name, {"probe_key": 1}, _ID), _ANSWER]
