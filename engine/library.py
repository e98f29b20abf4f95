"""Our own C, compiled once with the machine's compiler and kept."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import torch

from engine.progress import ProgressBars

_FLAGS: Final = ("-O3", "-fPIC", "-shared")
_COMPILERS: Final = ("gcc", "cc", "clang")
_PACKAGED: Final = "ziglang"  # a C compiler as a Python package, for machines that have none
_COMPILE_TIMEOUT_S: Final = 120.0


class LibraryError(RuntimeError):
    """The library cannot be had here; the message names why and a way out."""


def load_library(source: Path, features: Sequence[str], folder: Path) -> ctypes.CDLL:
    """The library of a C file, compiled into `folder` unless an earlier start did so. Raises LibraryError.

    `features` are what the processor must have, as torch names them.
    """
    available = torch.cpu.get_capabilities()
    if missing := [name for name in features if not available.get(name)]:
        raise LibraryError(f"the processor lacks {missing[0]}")
    flags = (*_FLAGS, *(f"-m{name.replace('_', '')}" for name in features))
    text = b"".join(path.read_bytes() for path in (source, *sorted(source.parent.glob("*.h"))))
    key = hashlib.sha256(text + " ".join(flags).encode()).hexdigest()[:16]
    library = folder / f"{source.stem}-{key}.so"
    try:
        if not library.exists():
            _compile(source, flags, library)
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise LibraryError(f"{library} cannot be had ({error}); delete it or mend its folder") from error


def find_compiler() -> list[str] | None:
    """The command of a C compiler: the machine's own, or the one that a package brings."""
    if own := next(filter(None, map(shutil.which, _COMPILERS)), None):
        return [own]
    return [sys.executable, "-m", _PACKAGED, "cc"] if find_spec(_PACKAGED) else None


def _compile(source: Path, flags: Sequence[str], library: Path) -> None:
    compiler = find_compiler()
    if compiler is None:
        raise LibraryError(f"there is no C compiler here; install gcc, or {_PACKAGED} with pip")
    progress = ProgressBars()
    what = f"Compiling {source.name} for this processor, once"
    progress(what, 0, 1)
    library.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=library.parent) as work:
        whole = Path(work, "whole.so")
        _run([*compiler, *flags, str(source), "-o", str(whole)])
        os.replace(whole, library)
    progress(what, 1, 1)


def _run(command: list[str]) -> None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise LibraryError(f"{Path(command[0]).name} takes too long; install another C compiler") from error
    if ended.returncode:
        first = next(iter(ended.stderr.strip().splitlines()), f"it ended with {ended.returncode}")
        raise LibraryError(f"{Path(command[0]).name} cannot compile: {first}; install a newer gcc")
