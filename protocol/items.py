"""Items: the pieces of a conversation, as clients send and read them."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct

from protocol.logprobs import TokenLogprob
from protocol.tools import FunctionCall


class OutputText(Struct, frozen=True, tag_field="type", tag="output_text", kw_only=True):
    """Text of a reply. `annotations` are empty until something fills them, `logprobs` unless they were asked for."""

    text: str
    annotations: tuple[dict[str, Any], ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()


class OutputMessage(Struct, frozen=True, tag_field="type", tag="message", kw_only=True):
    """A reply as an item of the response's output."""

    id: str
    role: Literal["assistant"] = "assistant"
    status: Literal["in_progress", "completed", "incomplete"]
    content: tuple[OutputText, ...] = ()


OutputItem: TypeAlias = OutputMessage | FunctionCall
