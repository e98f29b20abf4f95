"""Engines from the configuration; torch is imported only where it is used."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.adapter_settings import asked_adapter
from app.config import Config
from app.settings import ConfigError
from engine.adapters.adapter import AdapterError
from engine.adapters.store import AdapterLimits
from engine.config import EngineSettings, ModelError
from engine.interface import Engine
from engine.progress import Progress

if TYPE_CHECKING:
    import torch

    from engine.plan import Budget, MemoryPlan

SCRIPTED: Final = "scripted"
"""As a source: the scripted engine instead of a model's folder."""


@dataclass(frozen=True, slots=True)
class Built:
    """An engine, not started, and the plan of its memory, if it takes any worth a plan."""

    engine: Engine
    plan: MemoryPlan | None = None

    @property
    def share(self) -> Share:
        plan = self.plan
        if plan is None:
            return Share(0)
        stats = self.engine.stats()
        written = (stats.pages_used + stats.pages_cached) / stats.pages_total
        return Share(plan.total, plan.needs.work + int(plan.kv_bytes * (1 - written)))


@dataclass(frozen=True, slots=True)
class Share:
    """The memory that a model may take, in bytes; `free` of them count as available still, though they are promised:
    pages come when they are first written, and a step's room only while one is computed."""

    bytes: int
    free: int = 0


def build_default(config: Config) -> Built:
    """The engine of the model that answers where none is named; slow (fetch, convert, load), so called in a thread.

    Raises ConfigError where the model cannot be had.
    """
    built = Built(_scripted(config, SCRIPTED)) if config.engine == SCRIPTED else _own(config)
    try:
        return _with_adapters(config, built, default=True)
    except AdapterError as error:
        raise ConfigError(f"adapters: {error}") from error


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
    config: Config, model_id: str, source: str, planned: Mapping[str, Share], progress: Progress
) -> Built:
    """The engine of one more model: a path, a name in the cache, or `scripted`. planned: of those that are loaded, by
    id. Slow. Raises ModelError."""
    try:
        return _with_adapters(config, _further(config, model_id, source, planned, progress), default=False)
    except AdapterError as error:
        raise ModelError(f"adapters: {error}") from error


def _further(
    config: Config, model_id: str, source: str, planned: Mapping[str, Share], progress: Progress
) -> Built:
    if source == SCRIPTED:
        return Built(_scripted(config, model_id))
    from engine.cached import find_model

    return _torch(config, find_model(source, config.cache_dir, progress), model_id, planned)


def _with_adapters(config: Config, built: Built, *, default: bool) -> Built:
    """Those that the settings have for the model. Raises AdapterError."""
    for one in map(asked_adapter, config.adapters):
        if one.of(built.engine.model.id, default=default):
            built.engine.adapters.load_now(one.name, one.folder)
    return built


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


def _torch(config: Config, folder: Path, model_id: str, planned: Mapping[str, Share]) -> Built:
    """The engine of a model folder, within the memory that is left. Raises ModelError."""
    import torch

    from engine.needs import look_at
    from engine.plan import exhausted, plan_memory
    from engine.torch_engine import build_torch_engine

    settings = engine_settings(config)
    looked = look_at(folder, settings, model_id)
    plan = plan_memory(looked.needs, settings, memory_budget(config, looked.form.device, planned))
    host = host_memory(config, looked.form.device, plan.kv_bytes)
    try:
        engine = build_torch_engine(
            folder, replace(settings, kv_bytes=plan.kv_bytes, host_kv_bytes=host), model_id
        )
    except torch.OutOfMemoryError as error:
        raise exhausted(plan) from error
    return Built(engine, plan)


def engine_settings(config: Config) -> EngineSettings:
    return EngineSettings(
        device=config.device,
        dtype=config.dtype,
        kv_dtype=config.kv_dtype,
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


def memory_budget(config: Config, device: torch.device, planned: Mapping[str, Share]) -> Budget:
    """What a further model may take. planned: of the loaded ones, by id."""
    from engine.available import memory_of
    from engine.plan import Budget

    shares = {model_id: share.bytes for model_id, share in planned.items()}
    taken = sum(shares.values())
    if config.memory_bytes is not None:
        left = config.memory_bytes - taken
        return Budget(config.memory_bytes, left, "memory_bytes", fixed=True, planned=shares)
    found = memory_of(device)
    gpu = device.type == "cuda"  # there pages are taken when the model is loaded, and none comes later
    promised = 0 if gpu else sum(share.free for share in planned.values())
    left = min(found.available - promised, found.total - taken)
    return Budget(found.total, left, found.source, gpu=gpu, planned=shares)


def default_source(config: Config) -> str:
    """Where the default model comes from, as `build_further` would take it."""
    from engine.fetch import DEFAULT_MODEL

    return SCRIPTED if config.engine == SCRIPTED else str(config.model or DEFAULT_MODEL)


def host_memory(config: Config, device: torch.device, kv_bytes: int) -> int:
    """Bytes for keys and values that leave a GPU. Raises ModelError."""
    import torch

    from engine.available import memory_of
    from engine.plan import host_kv_bytes

    asked = None if config.host_kv_mib is None else config.host_kv_mib << 20
    available = memory_of(torch.device("cpu")).available
    return host_kv_bytes(asked, kv_bytes, device.type == "cuda", available)


def default_id(config: Config) -> str:
    """What clients call the model: the default one's name, or that of the operator's own folder or file."""
    from engine.fetch import DEFAULT_MODEL

    if config.model is None:
        return DEFAULT_MODEL
    model = config.model.resolve()
    return model.stem if model.suffix == ".gguf" else model.name
