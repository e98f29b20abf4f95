"""A model folder's chat template, tried out before anybody is served by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from engine.aside import within
from engine.chat_template import ChatTemplate
from engine.config import ModelError

TRIAL_S: Final = 10.0
"""The default model's takes some milliseconds, and no load goes on before it; a busy machine may have them tenfold."""


def tried_template(folder: Path, tokenizer: Any) -> ChatTemplate:
    """The template of a folder's tokenizer. Raises ModelError: what it makes of short messages has no end."""
    try:
        return within(TRIAL_S, "template", lambda: ChatTemplate(tokenizer))
    except TimeoutError:
        raise ModelError(
            f"{template_file(folder)}: the chat template had not rendered a few short messages after {TRIAL_S:g} s; "
            "copy the model's own template there"
        ) from None


def template_file(folder: Path) -> Path:
    """Where transformers finds it: the file of its own comes first."""
    own = folder / "chat_template.jinja"
    return own if own.exists() else folder / "tokenizer_config.json"
