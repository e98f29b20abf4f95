"""Conversations with calls, as messages that any chat template takes (pure)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
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
    """Calls as the text that the model would have written, those of one reply in one message; it keeps a `call` where
    the template is to know that there are some.

    Without `tool_role`, what calls gave is said by the user, neighbours in one message.
    """
    told: list[ChatMessage] = []
    calls: list[str] = []  # those that the last message ends with
    text = ""  # what it has before them
    before = ""  # "call", "answer" or neither: what the last message was
    for message in messages:
        joins = bool(told) and told[-1].role == message.role
        kind = "call" if message.call else "answer" if message.role == "tool" and not tool_role else ""
        if kind == "call":
            text = text if calls else told[-1].content if joins else ""
            calls.append(syntax.called(message.call, message.content, short_id(message.call_id)))
            content = _joined(text, syntax.reply(calls), syntax)
            message = ChatMessage("assistant", content, message.call if syntax.as_calls else "")
        else:
            calls = []
            if kind == "answer":
                message = ChatMessage("user", f"<tool_response>\n{message.content}\n</tool_response>")
                joins = before == "answer"
                content = f"{told[-1].content}\n{message.content}" if joins else ""
            elif joins := joins and before == "call":
                content = _joined(told[-1].content, message.content, syntax)
                message = replace(message, call=told[-1].call)
        if joins:
            message = replace(told.pop(), content=content, call=message.call)
        told.append(message)
        before = kind
    return told


def short_id(call_id: str) -> str:
    """A call's id as all templates take it: some want nine letters and digits."""
    if re.fullmatch("[A-Za-z0-9]{9}", call_id):
        return call_id
    return sha256(call_id.encode()).hexdigest()[:9]


def _joined(text: str, more: str, syntax: CallSyntax) -> str:
    return f"{text}{syntax.behind_text}{more}" if text else more
