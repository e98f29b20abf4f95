"""Which runner computes a model's steps: the one place that asks what device it is."""

from __future__ import annotations

from engine.batch import Runner
from engine.config import EngineSettings
from engine.models import LoadedModel
from engine.runner import TorchRunner


def runner_for(loaded: LoadedModel, settings: EngineSettings) -> Runner:
    """Raises ModelError if the memory for keys and values holds no context to speak of."""
    if loaded.device.type == "cuda":
        from engine.cuda.device import CudaDevice
        from engine.cuda.runner import GraphRunner
        from engine.cuda.triton_kernels import TritonKernels

        device = CudaDevice(loaded.device)
        kernels = TritonKernels(device.processors, loaded.context_tokens, device.overlaps)
        return GraphRunner(loaded, settings, device, kernels, settings.ahead)
    return TorchRunner(loaded, settings)
