"""The files of an adapter as PEFT saves them, read whole. No torch: whoever only checks them needs none."""

from __future__ import annotations

import hashlib
import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.adapters.adapter import Adapter, AdapterError, check_name
from engine.adapters.choice import choose
from engine.adapters.config import AdapterConfig, ConfigFault, parse_config

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
_PICKLE: Final = "adapter_model.bin"
_MAX_CONFIG_BYTES: Final = 1 << 20  # a thousand times what PEFT writes


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    config: AdapterConfig
    weights: bytes  # safetensors, not looked at yet
    identity: str  # of the content of both


def read_files(name: str, folder: Path, limit_bytes: int) -> AdapterFiles:
    """Raises AdapterError naming the file and the field at fault."""
    check_name(name)
    source = _read(name, folder / CONFIG, _MAX_CONFIG_BYTES)
    config = _config(name, folder / CONFIG, source)
    if not (folder / WEIGHTS).exists() and (folder / _PICKLE).exists():
        raise AdapterError(name, f"{folder / _PICKLE} is a pickle, which can run code; save it as {WEIGHTS}")
    weights = _read(name, folder / WEIGHTS, limit_bytes)
    digest = hashlib.blake2b(source, digest_size=16)
    digest.update(weights)
    return AdapterFiles(config, weights, digest.hexdigest())


def checked_adapter(name: str, folder: Path, limit_bytes: int, now: int) -> Adapter:
    """An adapter for an engine without a model: checked as far as that goes. Raises AdapterError."""
    files = read_files(name, folder, limit_bytes)
    try:
        choose(files.config, ())
    except ConfigFault as fault:
        raise AdapterError(name, f"{folder / CONFIG}: {fault}") from fault
    return Adapter(name, files.identity, files.config.r, len(files.weights), now)


def _read(name: str, path: Path, limit: int) -> bytes:
    """A regular file's bytes, in memory: one that changes meanwhile changes nothing that was checked."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise AdapterError(name, f"{path} is no file")
        if found.st_size > limit:
            raise AdapterError(name, f"{path} has {found.st_size} bytes; there is room for {limit}")
        return path.read_bytes()
    except OSError as error:
        raise AdapterError(
            name, f"{path} cannot be read ({error.strerror}); is it a folder that PEFT saved?"
        ) from error


def _config(name: str, path: Path, source: bytes) -> AdapterConfig:
    try:
        return parse_config(json.loads(source))
    except ConfigFault as fault:
        raise AdapterError(name, f"{path}: {fault}") from fault
    except (ValueError, RecursionError) as error:
        raise AdapterError(name, f"{path} is no JSON ({error})") from error
