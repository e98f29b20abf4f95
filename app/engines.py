"""Which engine serves: built from the configuration, torch imported only where it is used."""

from __future__ import annotations

import time

from app.config import Config
from app.settings import ConfigError
from engine.interface import Engine


def build_engine(config: Config) -> Engine:
    """The engine that the configuration names, not started; slow (fetch, convert, load), so called in a thread.

    Raises ConfigError where the model cannot be had.
    """
    if config.engine == "scripted":
        from engine.scripted import ScriptedEngine

        return ScriptedEngine(
            config.scripted_tokens_per_s,
            max_running=config.scripted_max_running,
            max_waiting=config.max_waiting,
            created_at=int(time.time()),
        )
    return _torch_engine(config)


def _torch_engine(config: Config) -> Engine:
    from engine.config import EngineSettings, ModelError
    from engine.fetch import DEFAULT_MODEL, ensure_model
    from engine.progress import ProgressBars
    from engine.torch_engine import build_torch_engine

    progress = ProgressBars()
    try:
        folder = ensure_model(config.model, config.cache_dir, progress)
        settings = EngineSettings(
            dtype=config.dtype,
            native_dir=config.cache_dir / "native",
            threads=config.threads,
            max_running=config.max_running,
            max_waiting=config.max_waiting,
            chunk_tokens=config.chunk_tokens,
            gap_s=config.gap_ms / 1000,
            speculation=config.speculation,
            keep_warm_s=config.keep_warm_s,
            kv_bytes=(config.kv_memory_mib or 0) << 20,  # 0: what the device suggests
        )
        model_id = DEFAULT_MODEL if config.model is None else _model_id(config)
        return build_torch_engine(folder, settings, model_id)
    except ModelError as error:
        raise ConfigError(str(error)) from error
    finally:
        progress.close()


def _model_id(config: Config) -> str:
    """What clients call a model of the operator's own: its folder's or file's name."""
    assert config.model is not None
    model = config.model.resolve()
    return model.stem if model.suffix == ".gguf" else model.name
