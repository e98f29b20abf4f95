"""What `sluice doctor` finds out of further models and of adapters: those that would stop a start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from app.adapter_settings import asked_adapter, of_no_model
from app.config import Config
from app.engines import SCRIPTED, default_id, engine_settings
from app.finding import Finding
from app.model_ids import further_models
from engine.adapters.adapter import AdapterError
from engine.adapters.files import checked_adapter
from engine.adapters.store import AdapterLimits, AdapterStore
from engine.config import ModelError


def models_asked_for(config: Config) -> Iterator[Finding]:
    default = SCRIPTED if config.engine == SCRIPTED else default_id(config)
    for model_id, source in further_models(config.models).items():
        if model_id == default:
            fault = f"SLUICE_MODELS: {model_id!r} is the default model's id; choose another"
            yield Finding("further models", model_id, fault, fault=True)
            continue
        try:
            yield Finding("further models", model_id, _looked_at(config, model_id, source))
        except ModelError as error:
            fault = f"SLUICE_MODELS: {model_id}={source}: {error}"
            yield Finding("further models", model_id, fault, fault=True)


def _looked_at(config: Config, model_id: str, source: str) -> str:
    """Raises ModelError."""
    if source == SCRIPTED:
        return "the scripted engine"
    from engine.needs import look_at
    from engine.plan import size

    folder = _folder(config, source)
    if folder is None:
        return f"not there yet: the first start has it made of {source}"
    needs = look_at(folder, engine_settings(config), model_id).needs
    return f"{folder}, weights {size(needs.weights)}, {needs.context_tokens} tokens"


def _folder(config: Config, source: str) -> Path | None:
    """None: it would be fetched or converted first. Raises ModelError."""
    from engine.cached import find_model
    from engine.fetch import DEFAULT_MODEL, cached_model
    from engine.progress import ProgressBars

    path = Path(source).expanduser()
    if path.exists():
        return cached_model(path, config.cache_dir)
    if source == DEFAULT_MODEL:
        return cached_model(None, config.cache_dir)
    return find_model(source, config.cache_dir, ProgressBars())  # by its name: nothing is made


def adapters_asked_for(config: Config) -> Iterator[Finding]:
    """Checked as far as that goes without their models: a start also compares their tensors with these."""
    default = SCRIPTED if config.engine == SCRIPTED else default_id(config)
    limits = AdapterLimits(config.max_adapters, config.adapter_memory_mib << 20)
    models = [default, *further_models(config.models)]
    stores = {model: AdapterStore(checked_adapter, limits) for model in models}
    for setting in config.adapters:
        asked = asked_adapter(setting)
        if fault := of_no_model([setting], models):
            yield Finding("adapters", asked.name, f"SLUICE_ADAPTERS: {fault}", fault=True)
            continue
        try:
            found = stores[asked.model or default].load_now(asked.name, asked.folder)
        except AdapterError as error:
            yield Finding("adapters", asked.name, f"SLUICE_ADAPTERS: {error}", fault=True)
        else:
            yield Finding("adapters", asked.name, f"{asked.folder}, rank {found.rank}")
