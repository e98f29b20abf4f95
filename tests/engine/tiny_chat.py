"""A tiny model with random weights that takes chats: its tokens are single bytes, its words are noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tests.engine.tiny_models import save_tiny
from tests.engine.tiny_tokenizers import CHATML, byte_level, outer


def save_tiny_chat(
    folder: Path, template: str = CHATML, padding: int = 0, inner: Tokenizer | None = None, **changes: Any
) -> Path:
    """`padding`: logits that are of no token."""
    tokenizer = outer(inner or byte_level(), template, eos_token="<|im_end|>", bos_token="<|im_start|>")
    sizes = {"vocab_size": len(tokenizer) + padding, "max_position_embeddings": 600, "num_hidden_layers": 1}
    save_tiny("llama", folder, **sizes | changes)
    tokenizer.save_pretrained(folder)
    return folder
