"""A model folder's chat template, tried out before anybody is served by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from engine.aside import within
from engine.chat_template import ChatTemplate
from engine.config import ModelError
from engine.request import ChatMessage, EngineError
from engine.template_budget import TooMuch

TRIAL_S: Final = 10.0
"""The default model's trial takes 8 ms, so this is enough on any machine; other loads wait for it."""

MAX_CHARS: Final = 1 << 20
"""The default model's makes 153. Prompts are rendered whole, and megabytes of each hold up all that is served."""


def tried_template(folder: Path, tokenizer: Any) -> ChatTemplate:
    """The template of a folder's tokenizer. Raises ModelError: it is none, or what it makes of short messages is too
    long or has no end."""
    try:
        return within(TRIAL_S, "template", lambda: _tried(folder, tokenizer))
    except TimeoutError:
        raise ModelError(
            f"{template_file(folder)}: the chat template had not rendered a few short messages after {TRIAL_S:g} s; "
            "copy the model's own template there"
        ) from None


def _tried(folder: Path, tokenizer: Any) -> ChatTemplate:
    template = ChatTemplate(tokenizer)
    try:
        written = template.render([ChatMessage("user", "probe")])
    except EngineError as refused:
        fault = refused.__cause__
        if isinstance(fault, TooMuch):
            raise ModelError(
                f"{template_file(folder)}: the chat template cannot render a short message: {fault}; "
                "copy the model's own template there"
            ) from refused
        # Jinja's and Python's errors of syntax say where. Whatever else is raised is of this conversation.
        if (line := getattr(fault, "lineno", None)) is not None:
            raise ModelError(
                f"{template_file(folder)}: line {line} of the chat template has a syntax error ({fault}); "
                "mend it, or copy the model's own template there"
            ) from refused
        return template
    if len(written) > MAX_CHARS:
        raise ModelError(
            f"{template_file(folder)}: the chat template makes {len(written):,} characters of a short message, and "
            f"{MAX_CHARS:,} are the most; copy the model's own template there"
        )
    return template


def template_file(folder: Path) -> Path:
    """Where transformers finds it: the file of its own comes first."""
    own = folder / "chat_template.jinja"
    return own if own.exists() else folder / "tokenizer_config.json"
