"""A model folder into a model that runs: our decoder for its families, transformers' modules for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from engine.adapters.mixer import Mixer
from engine.adapters.targets import Targets
from engine.architecture import architecture_of
from engine.attending import Attending
from engine.checkpoint import Checkpoint
from engine.config import EngineSettings, ModelError
from engine.decoder import Decoder
from engine.form import BITS, FP8, Form, form_of
from engine.generation_config import read_generation_config, recommended
from engine.kernels import Kernels
from engine.linear import Linears, Narrow
from engine.model_config import read_config
from engine.norm import Pointwise
from engine.paged_cache import LayerShape
from engine.request import Sampling
from engine.rope import steady_context
from engine.shapes import check_shapes
from engine.weight_files import WeightFiles


class LanguageModel(Protocol):
    """What a runner drives."""

    @property
    def shapes(self) -> list[LayerShape]: ...

    @property
    def vocab(self) -> int: ...

    @property
    def targets(self) -> Targets:
        """What adapters may change."""
        ...

    @property
    def mixer(self) -> Mixer:
        """What the rows' adapters add."""
        ...

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        attention: Attending,
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


def load_model(folder: Path, settings: EngineSettings, narrow: Narrow | None = None) -> LoadedModel:
    """Load a safetensors folder. Raises ModelError naming the fault and a way out.

    `narrow`: keeps our own decoder's weights instead of what `settings` choose; for what stands in for a GPU.
    """
    config = read_config(folder)
    architecture = architecture_of(config)
    if architecture is None:
        check_generic(config, settings)
    generation = read_generation_config(folder)
    files = WeightFiles(folder)
    form = form_of(settings, holds_blocks=files.holds_blocks and architecture is not None)
    model: LanguageModel
    with torch.inference_mode():
        if architecture is None:
            from engine.generic import GenericModel  # a second of imports that our own families do without

            model = GenericModel(folder, config, form.device, form.dtype, form.dense)
            own = form.dense is not None
        else:
            check_shapes(files, config, architecture)
            weights = Checkpoint(files, form.device, form.dtype)
            linears = Linears(weights, form.products, form.bits, narrow or narrow_of(form), form.dense)
            model = Decoder(architecture, config, weights, linears, pointwise_of(form))
            own = model.is_in_c
        if own:  # torch has little to do, and its threads spin where the crew's work
            torch.set_num_threads(1)
    limit = steady_context(config)
    return LoadedModel(
        model=model,
        context_tokens=min(limit, settings.context_tokens) if settings.context_tokens else limit,
        defaults=recommended(generation),
        eos_ids=_eos_ids(generation, config),
        device=form.device,
        dtype=form.dtype,
        kernels=form.kernels,
    )


def check_generic(config: Any, settings: EngineSettings) -> None:
    """Raises ModelError for what only our own decoder computes."""
    if settings.dtype in BITS or settings.dtype == FP8:
        raise ModelError(
            f"dtype {settings.dtype} is for models that our own decoder computes, "
            f"which {config.model_type} is not; choose auto"
        )


def narrow_of(form: Form) -> Narrow | None:
    """What keeps weights in 8 bits, if a GPU is to."""
    if form.narrow is None:
        return None
    from engine.cuda.products import TritonProducts
    from engine.cuda.weights import NarrowWeights

    processors = torch.cuda.get_device_properties(form.device).multi_processor_count
    return NarrowWeights(TritonProducts(processors), form.narrow)


def pointwise_of(form: Form) -> Pointwise | None:
    """Our own kernels for what stands between the products, where there are some."""
    if form.device.type != "cuda":
        return form.kernels
    try:
        from engine.cuda.pointwise import TritonPointwise
    except ImportError as error:
        raise ModelError(
            f"device cuda needs Triton, which comes with torch's builds for GPUs ({error}); "
            "install one of them, or choose cpu"
        ) from error
    return TritonPointwise()


def _eos_ids(generation: dict[str, Any], config: Any) -> frozenset[int]:
    ids = [generation.get("eos_token_id"), getattr(config, "eos_token_id", None)]
    flat = [token for one in ids for token in (one if isinstance(one, list) else [one])]
    return frozenset(token for token in flat if token is not None)
