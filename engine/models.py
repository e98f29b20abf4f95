"""A model folder into a model that runs: our decoder for its families, transformers' modules for the rest."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from engine.adapters.mixer import Mixer
from engine.adapters.targets import Targets
from engine.architecture import architecture_of
from engine.attention import LayerShape, StepAttention
from engine.checkpoint import Checkpoint
from engine.config import EngineSettings, ModelError
from engine.decoder import Decoder
from engine.kernels import Kernels
from engine.library import LibraryError
from engine.linear import Linears
from engine.model_config import read_config
from engine.products import Products
from engine.request import Sampling
from engine.rope import steady_context

log = logging.getLogger(__name__)
_BITS: Final = {"int8": 8, "int4": 4}


class LanguageModel(Protocol):
    """What a runner drives."""

    @property
    def shapes(self) -> list[LayerShape]: ...

    @property
    def vocab(self) -> int: ...

    @property
    def targets(self) -> Targets | None:
        """What adapters may change; None: it takes none."""
        ...

    @property
    def mixer(self) -> Mixer:
        """What the rows' adapters add."""
        ...

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        attention: StepAttention,
        chosen: Tensor,
        adapted: bool = False,
    ) -> Tensor:
        """Logits in float32 of the tokens at `chosen`. tokens, positions: [T], chosen: [R] -> [R, V].

        `adapted`: what the mixer has is added.
        """
        ...


@dataclass(frozen=True, slots=True)
class LoadedModel:
    model: LanguageModel
    context_tokens: int
    defaults: Sampling  # what the model's authors recommend
    eos_ids: frozenset[int]
    device: torch.device
    dtype: torch.dtype
    kernels: Kernels | None = None


def load_model(folder: Path, settings: EngineSettings) -> LoadedModel:
    """Load a safetensors folder. Raises ModelError naming the fault and a way out."""
    torch.set_num_threads(settings.threads or spare_threads())
    config = read_config(folder)
    device = _device(settings.device)
    dtype = _dtype(settings.dtype, device)
    bits = _BITS.get(settings.dtype)
    architecture = architecture_of(config)
    kernels = _kernels(settings, device)
    model: LanguageModel
    with torch.inference_mode():
        if architecture is None:
            if bits:
                raise ModelError(
                    f"dtype {settings.dtype} is for models that our own decoder computes, "
                    f"which {config.model_type} is not; choose auto"
                )
            from engine.generic import GenericModel  # a second of imports that our own families do without

            model = GenericModel(folder, config, device, dtype)
        else:
            weights = Checkpoint(folder, device, dtype)
            linears = Linears(weights, _products(weights, settings, device), bits)
            model = Decoder(architecture, config, weights, linears, kernels)
    generation = _read_generation_config(folder)
    limit = steady_context(config)
    return LoadedModel(
        model=model,
        context_tokens=min(limit, settings.context_tokens) if settings.context_tokens else limit,
        defaults=_recommended(generation),
        eos_ids=_eos_ids(generation, config),
        device=device,
        dtype=dtype,
        kernels=kernels,
    )


def _kernels(settings: EngineSettings, device: torch.device) -> Kernels | None:
    """Our own kernels, where they can be had."""
    if settings.native_dir is None or device.type != "cpu":
        return None
    try:
        return Kernels.load(settings.native_dir, torch.get_num_threads())
    except LibraryError as error:
        log.warning("kernels=torch reason=%r", str(error))
        return None


def spare_threads() -> int:
    """A thread for each core but one, which is the event loop's; no more than torch has (OMP_NUM_THREADS)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(torch.get_num_threads(), cores - 1))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {name!r} cannot be used here ({error}); choose cpu") from error
    return device


def _products(weights: Checkpoint, settings: EngineSettings, device: torch.device) -> Products | None:
    """Our own products, where weights in blocks are asked for, or there and not declined. Raises ModelError."""
    asked = settings.dtype in _BITS
    if not asked and not (settings.dtype == "auto" and weights.holds_blocks and device.type == "cpu"):
        return None
    if device.type != "cpu":
        raise ModelError(f"dtype {settings.dtype} is computed on a processor only; choose auto or device cpu")
    try:
        return Products.load(settings.native_dir, torch.get_num_threads())
    except LibraryError as error:
        if asked:
            raise ModelError(f"dtype {settings.dtype} cannot be had: {error}; or choose auto") from error
        log.warning("weights=%s reason=%r", str(weights.dtype).removeprefix("torch."), str(error))
        return None


def _dtype(name: str, device: torch.device) -> torch.dtype:
    """What is computed in, and what weights are kept in that are not in blocks."""
    if name != "auto" and name not in _BITS:
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if _cpu_multiplies_bfloat16() else torch.float32


def _cpu_multiplies_bfloat16() -> bool:
    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16") or features.get("bf16"))


def _read_generation_config(folder: Path) -> dict[str, Any]:
    """The file itself: transformers' class fills in defaults that the authors did not choose."""
    path = folder / "generation_config.json"
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ModelError(f"{path}: not readable as JSON ({error}); mend or delete it") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: not a JSON object; mend or delete it")
    return content


def _recommended(generation: dict[str, Any]) -> Sampling:
    plain = Sampling()
    return Sampling(
        temperature=0.0 if generation.get("do_sample") is False else _or(generation, "temperature", plain),
        top_p=_or(generation, "top_p", plain),
        top_k=int(_or(generation, "top_k", plain)),
        min_p=_or(generation, "min_p", plain),
        repetition_penalty=_or(generation, "repetition_penalty", plain),
    )


def _or(generation: dict[str, Any], name: str, plain: Sampling) -> float:
    value = generation.get(name)
    return float(getattr(plain, name) if value is None else value)


def _eos_ids(generation: dict[str, Any], config: Any) -> frozenset[int]:
    ids = [generation.get("eos_token_id"), getattr(config, "eos_token_id", None)]
    flat = [token for one in ids for token in (one if isinstance(one, list) else [one])]
    return frozenset(token for token in flat if token is not None)
