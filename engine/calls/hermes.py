"""Calls as Hermes and Qwen write them: `<tool_call>{"name": …, "arguments": …}</tool_call>`."""

from __future__ import annotations

from typing import Final

from engine.calls.objects import ObjectSyntax

HERMES: Final = ObjectSyntax("<tool_call>\n", "arguments", "\n</tool_call>")
