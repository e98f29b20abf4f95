"""Words as tokens. An id is a hash of its text, the same in every process."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final
from zlib import crc32

from engine.calls.described import with_tools
from engine.calls.hermes import HERMES
from engine.calls.syntax import CallSyntax
from engine.request import ChatMessage, Tool

END_OF_TURN: Final = 1
REPLY_BEGINS: Final = 2
FIRST_TEXT_ID: Final = 256  # ids below stand for the markers between messages

_WORD = re.compile(r"\s*\S+|\s+")

Split = Callable[[str], list[str]]
"""Cuts a text into the texts of its tokens; joined, they are the text."""


def words(text: str) -> list[str]:
    """At most one word with the spacing before it; spacing at the end stands alone."""
    return _WORD.findall(text)


def text_id(text: str) -> int:
    """The id of a token's text: 31 bits, never one of the markers."""
    return token_of(text)[0]


@lru_cache(maxsize=1 << 16)
def token_of(text: str) -> tuple[int, str]:
    """A token's id and text, the same objects for the same text, so that a thousand echoes keep each word once."""
    number = crc32(text.encode("utf-8", "surrogatepass")) % (0x7FFF_FFFF - FIRST_TEXT_ID)
    return FIRST_TEXT_ID + number, text


def _role_id(role: str) -> int:
    if role == "assistant":
        return REPLY_BEGINS
    return REPLY_BEGINS + 1 + crc32(role.encode()) % (FIRST_TEXT_ID - REPLY_BEGINS - 1)


class ScriptedTokenizer:
    """A ChatTokenizer over `split`: each message is its role, its tokens and an end; then a reply begins."""

    def __init__(self, split: Split = words, syntax: CallSyntax = HERMES) -> None:
        self._split = split
        self._syntax = syntax

    def pieces(self, text: str) -> list[str]:
        return [piece for piece in self._split(text) if piece]

    def encode(self, text: str) -> list[int]:
        return [text_id(piece) for piece in self.pieces(text)]

    @property
    def fingerprint(self) -> str:
        return f"scripted-{getattr(self._split, '__name__', type(self._split).__name__)}"

    @property
    def call_syntax(self) -> CallSyntax:
        return self._syntax

    def encode_chat(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> list[int]:
        ids: list[int] = []
        for message in with_tools(messages, tools, self._syntax):
            ids.append(_role_id(message.role))
            ids += self.encode(message.content)
            ids.append(END_OF_TURN)
        ids.append(REPLY_BEGINS)
        return ids

    def extend_chat(
        self,
        context_ids: Sequence[int],
        history: Sequence[ChatMessage],
        new: Sequence[ChatMessage],
        tools: Sequence[Tool] = (),
    ) -> list[int]:
        return [*context_ids, END_OF_TURN, *self.encode_chat(new)]

    def reply_ids(self, text: str, generated: Sequence[int]) -> list[int]:
        return self.encode(text)
