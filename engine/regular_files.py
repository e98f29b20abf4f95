"""That what loaders open in a model's folder are files: reading a pipe or a device may have no end."""

from __future__ import annotations

import stat
from itertools import chain
from pathlib import Path
from typing import Final

from engine.config import ModelError

_READ: Final = {".gguf", ".jinja", ".json", ".model", ".safetensors", ".txt"}
_TEMPLATES: Final = "additional_chat_templates"  # transformers reads those too
_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_files(folder: Path) -> None:
    """Raises ModelError naming what has the name of a model's file and is none."""
    for path in chain(folder.glob("*"), folder.glob(f"{_TEMPLATES}/*")):
        if path.suffix in _READ and (kind := _kind(path)) is not None:
            raise ModelError(
                f"{path}: {kind}, not a regular file; remove it, or copy the model's own file there"
            )


def _kind(path: Path) -> str | None:
    """What it is, or leads to, in words; None for a file, or where the loader will say what is wrong."""
    try:
        return _KINDS.get(stat.S_IFMT(path.stat().st_mode))
    except OSError:
        return None
