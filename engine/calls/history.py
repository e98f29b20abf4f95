"""Calls in the replies of a conversation, found in their text (pure)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from engine.calls.parser import CallParser
from engine.calls.pieces import CallBegin, CallEnd
from engine.calls.syntax import CallSyntax
from engine.request import ChatMessage


def calls_in(syntax: CallSyntax, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The messages; a reply in whose text something is called has that as its `call`, and as its `call_id` the ids that
    the model gave its calls, with spaces between them."""
    told = []
    for message in messages:
        if message.role == "assistant":
            call = message.call or called_in(syntax, message.content)
            message = replace(message, call=call, call_id=" ".join(ids_in(syntax, message.content)))
        told.append(message)
    return told


def called_in(syntax: CallSyntax, text: str) -> str:
    """The name of the first function that is called in a reply; "" where no call is whole."""
    if syntax.trigger not in text:
        return ""
    pieces = CallParser(syntax, None).push(text)
    whole = any(isinstance(piece, CallEnd) for piece in pieces)
    return next(piece.name for piece in pieces if isinstance(piece, CallBegin)) if whole else ""


def ids_in(syntax: CallSyntax, text: str) -> list[str]:
    """The ids that the model gave its calls, in their order."""
    return re.findall(syntax.id_form, text) if syntax.id_form else []


def span_of(syntax: CallSyntax, rendered: str, name: str) -> tuple[int, int]:
    """From where to where the one call of the function of that name reaches, whose arguments are empty."""
    at = rendered.index(name)
    start = rendered.rindex(syntax.trigger, 0, at)
    opened = next(found for head in syntax.heads() if (found := head.match(rendered, start)))
    end = rendered.index("}", opened.end()) + 1
    closed = (found.end() for tail in syntax.tails() if (found := tail.match(rendered, end)))
    return start, next(closed, end)
