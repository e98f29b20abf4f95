"""That what loaders open in a model's folder are files with an end: reading a pipe or a device may have none."""

from __future__ import annotations

import stat
from itertools import chain
from pathlib import Path
from typing import Final

from engine.config import ModelError

MAX_TEXT_BYTES: Final = 128 << 20
"""Of a file that is read whole; the largest tokenizers have some 35 MB."""
_WEIGHTS: Final = {".gguf", ".safetensors"}
_READ: Final = {".jinja", ".json", ".model", ".txt"} | _WEIGHTS
_TEMPLATES: Final = "additional_chat_templates"  # transformers reads those too
_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_files(folder: Path) -> None:
    """Raises ModelError naming what has the name of a model's file and is none, or is too much to be read."""
    for path in chain(folder.glob("*"), folder.glob(f"{_TEMPLATES}/*")):
        if path.suffix in _READ and (fault := _fault(path)) is not None:
            raise ModelError(f"{path}: {fault}; remove it, or copy the model's own file there")


def _fault(path: Path) -> str | None:
    """What is wrong with it, or with what it leads to; None where nothing is, or the loader will say it."""
    try:
        found = path.stat()
    except OSError:
        return None
    if kind := _KINDS.get(stat.S_IFMT(found.st_mode)):
        return f"{kind}, not a regular file"
    if path.suffix not in _WEIGHTS and found.st_size > MAX_TEXT_BYTES:
        return f"{found.st_size:,} bytes, and {MAX_TEXT_BYTES:,} are the most"
    return None
