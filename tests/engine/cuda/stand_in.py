"""A GraphRunner on the processor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.config import EngineSettings
from engine.cuda.attention import Kernels
from engine.cuda.processor import ProcessorDevice
from engine.cuda.runner import GraphRunner
from engine.linear import Narrow
from engine.models import load_model
from tests.engine.cuda.torch_kernels import TorchKernels
from tests.engine.tiny_models import PAGE


def graph_runner_for(
    folder: Path,
    ahead: int = 1,
    kernels: Kernels | None = None,
    narrow: Narrow | None = None,
    **changes: Any,
) -> GraphRunner:
    asked = {"dtype": "float32", "page_tokens": PAGE, "kv_bytes": 4 << 20, "max_running": 12}
    settings = EngineSettings(**asked | changes)
    loaded = load_model(folder, replace(settings, kv_dtype="auto"), narrow)
    return GraphRunner(loaded, settings, ProcessorDevice(), kernels or TorchKernels(), ahead)
