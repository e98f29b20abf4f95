"""Conversations for chat templates in which user and assistant must take turns (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from engine.request import ChatMessage

SILENCE: Final = " "
"""What is said by who says nothing; some templates refuse a message without text."""


def alternating(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The same conversation, as such a template takes it: neighbours of one role are one message, a system message
    behind the first is the user's, and who is left out says nothing. Calls, and what they gave, are not counted."""
    told: list[ChatMessage] = []
    due = "user"  # who speaks next
    for message in messages:
        if message.role == "system" and told:
            message = replace(message, role="user")
        if message.role not in ("user", "assistant") or message.call:
            told.append(message)
            continue
        if message.role != due:
            if told and told[-1].role == message.role and not told[-1].call:
                told[-1] = replace(told[-1], content=f"{told[-1].content}\n\n{message.content}")
                continue
            told.append(ChatMessage(due, SILENCE))
        told.append(message if message.content else replace(message, content=SILENCE))
        due = "assistant" if message.role == "user" else "user"
    if all(message.role == "system" for message in told):  # which stands in front of the first user's
        told.append(ChatMessage("user", SILENCE))
    return told
