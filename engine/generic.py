"""Any other architecture: transformers' own modules, with our attention through AttentionInterface."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from transformers import AttentionInterface, AutoModelForCausalLM

from engine.adapters.mixer import Mixer
from engine.adapters.modules import AdaptedModules
from engine.adapters.targets import Targets
from engine.attending import Attending
from engine.config import ModelError
from engine.dense import Dense
from engine.dense_modules import take_over
from engine.paged_cache import LayerShape

ATTENTION: Final = "sluice_paged"
_PLAIN_LAYERS: Final = frozenset({"full_attention", "sliding_attention"})
# Arguments that transformers' layers pass and that change nothing here.
_HARMLESS: Final = frozenset(
    {"dropout", "position_ids", "position_embeddings", "use_cache", "is_causal", "output_attentions"}
)


class GenericModel:
    """A causal language model on transformers' modules; `forward` as in `engine.decoder`."""

    def __init__(
        self,
        folder: Path,
        config: Any,
        device: torch.device,
        dtype: torch.dtype,
        dense: Dense | None = None,
    ) -> None:
        """`dense`: multiplies where it can. Raises ModelError if the architecture cannot run on our attention."""
        AttentionInterface.register(ATTENTION, _attend)
        self._family = config.model_type
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, attn_implementation=ATTENTION, local_files_only=True
            )
        except (ValueError, OSError, KeyError) as error:
            raise ModelError(
                f"{folder}: transformers cannot load this {self._family} model: {error}"
            ) from error
        self._model = model.to(device).eval()
        self._mixer = Mixer(device)
        self._adapted = AdaptedModules(self._model, dtype, self._mixer)
        self._limits_logits = "logits_to_keep" in inspect.signature(self._model.forward).parameters
        self._shapes = self._probe(config)
        if dense is not None:  # only now: what has no attention of ours reads its weights in ways of its own
            take_over(self._model, dense)

    @property
    def shapes(self) -> list[LayerShape]:
        return self._shapes

    @property
    def vocab(self) -> int:
        return int(self._model.get_input_embeddings().num_embeddings)

    @property
    def targets(self) -> Targets:
        return self._adapted.targets

    @property
    def mixer(self) -> Mixer:
        return self._mixer

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
        with self._adapted.asked(adapted):
            return self._run(tokens, positions, attention, chosen)

    def _run(self, tokens: Tensor, positions: Tensor, attention: Any, chosen: Tensor) -> Tensor:
        wanted = chosen if len(chosen) else chosen.new_zeros(1)  # no model computes logits of nothing
        kept = {"logits_to_keep": wanted} if self._limits_logits else {}
        logits: Tensor = self._model(
            input_ids=tokens[None],
            position_ids=positions[None],
            use_cache=False,
            sluice_attention=attention,
            **kept,
        ).logits[0]
        logits = logits if self._limits_logits else logits[wanted]
        return logits[: len(chosen)].float()

    def _probe(self, config: Any) -> list[LayerShape]:
        """Run one token to see what each layer keeps, and refuse what our attention would compute wrongly."""
        probe = _Probe()
        zero = torch.zeros(1, dtype=torch.long, device=self._model.device)
        try:
            with torch.inference_mode():
                self._run(zero, zero, probe, zero)
        except TypeError as error:
            raise self._unsupported(str(error)) from error
        layers = int(config.num_hidden_layers)
        if sorted(probe.shapes) != list(range(layers)):
            raise self._unsupported(
                f"{len(probe.shapes)} of {layers} layers attend through AttentionInterface"
            )
        kinds = set(getattr(config, "layer_types", None) or ())
        if strange := kinds - _PLAIN_LAYERS:
            raise self._unsupported(f"layers of type {', '.join(sorted(strange))}")
        if getattr(config, "attention_chunk_size", None) is not None:
            raise self._unsupported("attention in chunks")
        slides = "sliding_attention" in kinds
        if slides and not probe.windows:
            raise self._unsupported("its sliding window does not reach the attention function")
        return [probe.shapes[layer] for layer in range(layers)]

    def _unsupported(self, why: str) -> ModelError:
        return ModelError(f"{self._family} models cannot be served: {why}; choose another model")


class _Probe:
    """Stands in for a step's attention while the model is looked at."""

    def __init__(self) -> None:
        self.shapes: dict[int, LayerShape] = {}
        self.windows: set[int] = set()

    def attend(
        self,
        layer: int,
        qkv: Tensor,
        kv_heads: int,
        turns: None,
        scale: float,
        window: int | None = None,
        softcap: float | None = None,
    ) -> Tensor:
        self.shapes[layer] = LayerShape(kv_heads, qkv.shape[2])
        if window is not None:
            self.windows.add(window)
        return qkv[:, : -2 * kv_heads]


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    sluice_attention: Any = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """query: [1, H, T, D], key, value: [1, Hkv, T, D] -> [1, T, H, D]. Raises TypeError for what we lack."""
    if sluice_attention is None:
        raise TypeError("arguments of its forward do not reach the attention function")
    strange = [name for name, value in others.items() if value is not None and name not in _HARMLESS]
    if strange or attention_mask is not None or getattr(module, "is_causal", True) is False:
        raise TypeError(f"attention with {', '.join(strange) or 'a mask of its own'}")
    if key.shape != value.shape:
        raise TypeError("keys and values of different shape")
    qkv = torch.cat((query, key, value), dim=1)[0].transpose(0, 1).contiguous()
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = sluice_attention.attend(module.layer_idx, qkv, key.shape[1], None, scale, sliding_window, softcap)
    return out[None], None
