"""What an admin may have loaded while the server runs: a path from the network is a danger."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from app.config import Config
from app.engines import SCRIPTED
from app.model_ids import further_models
from engine.cached import model_names
from protocol.codes import ProtocolError


def allowed_source(source: str, config: Config) -> str:
    """The source as `build_further` takes it: a name in the cache, or a path that the operator named or that lies in
    a folder that he named, with its links followed.

    Whatever lies elsewhere is refused in the same words, whether it is there or not: ProtocolError.
    """
    if source == SCRIPTED or source in model_names(config.cache_dir):
        return source
    for home in _homes(config):
        try:
            found = (home / source).resolve()  # an absolute path stays as it is
            if found in _configured(config) or _lies_in(found, home):
                return str(found)
        except (OSError, ValueError, RuntimeError):  # a name too long, with a NUL, links in a circle
            break
    raise ProtocolError(
        "invalid_value",
        "There is no such model among those that may be loaded into a running server: names that `sluice models list` "
        "shows as cached (`sluice models pull` brings more), what the server was started with, and what lies in "
        f"folders that its operator named (SLUICE_MODEL_DIRS: {', '.join(config.model_dirs) or 'none'}).",
        param="source",
    )


def _homes(config: Config) -> Iterator[Path]:
    for folder in (*map(Path, config.model_dirs), config.cache_dir / "models"):
        yield folder.resolve()


def _configured(config: Config) -> set[Path]:
    sources = [*further_models(config.models).values(), *([str(config.model)] if config.model else [])]
    return {Path(source).resolve() for source in sources if Path(source).is_absolute()}


def _lies_in(found: Path, home: Path) -> bool:
    """Whether it is there, and all of its files in the same home: as deep as a model's folder goes.

    Files and folders only: opening a pipe would wait for somebody to write into it.
    """
    files = chain([found], found.glob("*"), found.glob("*/*"))
    return found.exists() and all(
        file.resolve().is_relative_to(home) and (file.is_file() or file.is_dir() or not file.exists())
        for file in files
    )
