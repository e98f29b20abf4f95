"""Which engine serves: built from the configuration, torch imported only where it is used."""

from __future__ import annotations

import time

from app.config import Config
from engine.interface import Engine


def build_engine(config: Config) -> Engine:
    """The engine that `SLUICE_ENGINE` names; slow (model fetched, converted, loaded), so called in a thread."""
    if config.engine == "scripted":
        from engine.scripted import ScriptedEngine

        return ScriptedEngine(
            tokens_per_s=config.scripted_tokens_per_s,
            max_running=config.scripted_max_running,
            max_waiting=config.max_waiting,
            created_at=int(time.time()),
        )
    from engine.torch_engine import build_from_settings

    raise NotImplementedError(build_from_settings)
