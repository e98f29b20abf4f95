"""Engines from the configuration; torch is imported only where it is used."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.config import Config
from app.settings import ConfigError
from engine.adapters.adapter import AdapterError
from engine.adapters.store import AdapterLimits
from engine.config import EngineSettings, ModelError
from engine.interface import Engine
from engine.progress import Progress

if TYPE_CHECKING:
    import torch

    from engine.plan import Budget

SCRIPTED: Final = "scripted"
"""As a source: the scripted engine instead of a model's folder."""


@dataclass(frozen=True, slots=True)
class Built:
    """An engine, not started, and the memory that it may take."""

    engine: Engine
    bytes: int = 0


def build_default(config: Config) -> Built:
    """The engine of the model that answers where none is named; slow (fetch, convert, load), so called in a thread.

    Raises ConfigError where the model cannot be had.
    """
    built = Built(_scripted(config, SCRIPTED)) if config.engine == SCRIPTED else _own(config)
    for adapter in config.adapters:
        name, _, folder = adapter.partition("=")
        try:
            built.engine.adapters.load_now(name, Path(folder))
        except AdapterError as error:
            raise ConfigError(f"adapters: {error}") from error
    return built


def _own(config: Config) -> Built:
    from engine.fetch import ensure_model
    from engine.progress import ProgressBars

    progress = ProgressBars()
    try:
        folder = ensure_model(config.model, config.cache_dir, progress)
        return _torch(config, folder, default_id(config), {})
    except ModelError as error:
        raise ConfigError(str(error)) from error
    finally:
        progress.close()


def build_further(
    config: Config, model_id: str, source: str, planned: Mapping[str, int], progress: Progress
) -> Built:
    """The engine of one more model: a path, a name in the cache, or `scripted`. planned: memory of those that are
    loaded, by id. Slow. Raises ModelError."""
    if source == SCRIPTED:
        return Built(_scripted(config, model_id))
    from engine.cached import find_model

    return _torch(config, find_model(source, config.cache_dir, progress), model_id, planned)


def _scripted(config: Config, model_id: str) -> Engine:
    from engine.scripted import ScriptedEngine

    return ScriptedEngine(
        config.scripted_tokens_per_s,
        max_running=config.scripted_max_running,
        max_waiting=config.max_waiting,
        model_id=model_id,
        created_at=int(time.time()),
        adapter_limits=AdapterLimits(config.max_adapters, config.adapter_memory_mib << 20),
    )


def _torch(config: Config, folder: Path, model_id: str, planned: Mapping[str, int]) -> Built:
    """The engine of a model folder, within the memory that is left. Raises ModelError."""
    from engine.needs import look_at
    from engine.plan import plan_memory
    from engine.torch_engine import build_torch_engine

    settings = engine_settings(config)
    looked = look_at(folder, settings, model_id)
    plan = plan_memory(looked.needs, settings, memory_budget(config, looked.form.device, planned))
    engine = build_torch_engine(folder, replace(settings, kv_bytes=plan.kv_bytes), model_id)
    return Built(engine, plan.total)


def engine_settings(config: Config) -> EngineSettings:
    return EngineSettings(
        device=config.device,
        dtype=config.dtype,
        native_dir=config.cache_dir / "native",
        threads=config.threads,
        max_running=config.max_running,
        max_waiting=config.max_waiting,
        chunk_tokens=config.chunk_tokens,
        gap_s=config.gap_ms / 1000,
        speculation=config.speculation,
        keep_warm_s=config.keep_warm_s,
        max_adapters=config.max_adapters,
        adapter_bytes=config.adapter_memory_mib << 20,
        kv_bytes=(config.kv_memory_mib or 0) << 20,  # 0: what the plan suggests
    )


def memory_budget(config: Config, device: torch.device, planned: Mapping[str, int]) -> Budget:
    """What a further model may take. planned: what the loaded ones may take, by id."""
    from engine.available import memory_of
    from engine.plan import Budget

    taken = sum(planned.values())
    if config.memory_bytes is not None:
        left = config.memory_bytes - taken
        return Budget(config.memory_bytes, left, "memory_bytes", fixed=True, planned=planned)
    found = memory_of(device)
    left = min(found.available, found.total - taken)
    return Budget(found.total, left, found.source, gpu=device.type == "cuda", planned=planned)


def default_id(config: Config) -> str:
    """What clients call the model: the default one's name, or that of the operator's own folder or file."""
    from engine.fetch import DEFAULT_MODEL

    if config.model is None:
        return DEFAULT_MODEL
    model = config.model.resolve()
    return model.stem if model.suffix == ".gguf" else model.name
