"""Calls as Qwen3-Coder and its successors write them:
`<tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>`, each on a line of its own."""

from __future__ import annotations

from typing import Final

from engine.calls.tagged import TaggedSyntax

QWEN_CODER: Final = TaggedSyntax()
