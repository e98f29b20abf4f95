"""Every family's way to write calls."""

from __future__ import annotations

from typing import Any

import pytest

from engine.calls import mistral
from engine.calls.deepseek import DEEPSEEK
from engine.calls.hermes import HERMES
from engine.calls.llama import LLAMA
from engine.calls.qwen_coder import QWEN_CODER
from engine.calls.syntax import CallSyntax

WITH_JSON: dict[str, CallSyntax] = {
    "hermes": HERMES,
    "llama": LLAMA,
    "mistral-list": mistral.LIST,
    "mistral-tight-list": mistral.TIGHT_LIST,
    "mistral-named": mistral.NAMED,
    "mistral-named-with-id": mistral.NAMED_WITH_ID,
    "deepseek": DEEPSEEK,
}
ALL: dict[str, CallSyntax] = {**WITH_JSON, "qwen-coder": QWEN_CODER}
SYNTAXES = pytest.mark.parametrize("syntax", ALL.values(), ids=ALL)
WITH_JSON_SYNTAXES = pytest.mark.parametrize("syntax", WITH_JSON.values(), ids=WITH_JSON)
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}
ID = "abcdef123"


def written(syntax: CallSyntax, *calls: tuple[str, str]) -> str:
    """A reply of these calls, as the model would have written it."""
    return syntax.reply([syntax.called(name, arguments, ID) for name, arguments in calls])


def opening(syntax: CallSyntax, name: str) -> str:
    """A reply's first call up to its arguments."""
    return written(syntax, (name, "{-}")).partition("{-}")[0]
