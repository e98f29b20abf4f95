"""Calls as Llama 3 writes them: `{"name": …, "parameters": …}`."""

from __future__ import annotations

from typing import Final

from engine.calls.objects import ObjectSyntax

LLAMA: Final = ObjectSyntax("", "parameters", "")
