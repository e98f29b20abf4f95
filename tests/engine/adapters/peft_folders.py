"""Adapters that PEFT makes for tiny models, and the merged models that PEFT makes of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM


@contextmanager
def peft_talks() -> Iterator[None]:
    """PEFT warns of what is not about us: packages it would use, attributes of transformers that are old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


with peft_talks():
    from peft import LoraConfig, PeftModel, get_peft_model
    from peft.tuners.tuners_utils import check_target_module_exists
    from peft.utils.other import get_pattern_key

__all__ = ["LoraConfig", "check_target_module_exists", "get_pattern_key", "save_adapter", "save_merged"]

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]


def save_adapter(base: Path, folder: Path, seed: int = 0, **options: Any) -> Path:
    """An adapter whose every matrix matters, as PEFT saves it."""
    options = {
        "r": 4,
        "lora_alpha": 12,
        "target_modules": ATTENTION + MLP,
        "task_type": "CAUSAL_LM",
    } | options
    with peft_talks(), torch.no_grad():
        model = get_peft_model(_model(base), LoraConfig(**options))
        torch.manual_seed(seed)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.15)
        model.save_pretrained(folder)
    return folder


def save_merged(base: Path, adapter: Path, folder: Path) -> Path:
    """What PEFT makes of both, as a model of its own."""
    with peft_talks():
        merged = PeftModel.from_pretrained(_model(base), adapter).merge_and_unload()
        merged.save_pretrained(folder)
    return folder


def _model(base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
