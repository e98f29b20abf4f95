"""Conversations with calls, as messages that any chat template takes (pure)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from engine.calls.syntax import CallSyntax
from engine.request import ChatMessage, Tool

_BLOCK: Final = """\
You can call functions. These are the functions, one a line, as JSON:
{tools}

To call a function, write its name and its arguments as JSON between tags, and nothing after them:
{example}
What the function gives comes back in <tool_response> tags."""


def with_tools(
    messages: Sequence[ChatMessage], tools: Sequence[Tool], syntax: CallSyntax, role: str = "system"
) -> list[ChatMessage]:
    """For a template that knows no tools: they are described in the first message, and answers come from the user.
    `role` is that message's; a user's where the template has no system messages."""
    told = written_out(messages, syntax)
    if not tools:
        return told
    block = _BLOCK.format(
        tools="\n".join(json.dumps(tool.shape["function"], ensure_ascii=False) for tool in tools),
        example=syntax.written("NAME", '{"KEY": "VALUE"}'),
    )
    if told and told[0].role == "system":
        return [replace(told[0], content=f"{told[0].content}\n\n{block}"), *told[1:]]
    if told and told[0].role == role:
        return [replace(told[0], content=f"{block}\n\n{told[0].content}"), *told[1:]]
    return [ChatMessage(role, block), *told]


def written_out(
    messages: Sequence[ChatMessage], syntax: CallSyntax, *, tool_role: bool = False
) -> list[ChatMessage]:
    """Calls as the text that the model would have written, those of one reply in one message.

    Without `tool_role`, what calls gave is said by the user, neighbours in one message.
    """
    told: list[ChatMessage] = []
    before = ""  # "call", "answer" or neither: what the last message was
    for message in messages:
        kind = "call" if message.call else "answer" if message.role == "tool" and not tool_role else ""
        if kind == "call":
            message = ChatMessage("assistant", syntax.written(message.call, message.content))
        elif kind == "answer":
            message = ChatMessage("user", f"<tool_response>\n{message.content}\n</tool_response>")
        same_reply = kind == "call" or before == "call"
        joins = before == "answer" if kind == "answer" else same_reply
        if joins and told and told[-1].role == message.role:
            last = told.pop().content
            message = replace(message, content=f"{last}\n{message.content}" if last else message.content)
        told.append(message)
        before = kind
    return told
