"""What of other architectures is refused instead of being computed wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM, GPTNeoXForCausalLM

from engine.config import EngineSettings, ModelError
from engine.generic import ATTENTION, GenericModel
from engine.models import load_model
from tests.engine.driving import Run, drive
from tests.engine.tiny_models import generated, runner_for, save_tiny

PLAIN = EngineSettings(dtype="float32")


def save(folder: Path, kind: str, **options: Any) -> Path:
    small = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 32}
    config = AutoConfig.for_model(kind, **(small | options))
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "options", "fault"),
    [
        ("mamba", {"state_size": 4}, "0 of 2 layers attend"),
        ("bloom", {"n_head": 4, "n_layer": 2}, "of 2 layers attend|cannot load"),
        ("gpt_oss", {"num_local_experts": 2, "head_dim": 8, "num_attention_heads": 4}, "s_aux"),
        ("deepseek_v3", {"num_attention_heads": 4, "num_key_value_heads": 4}, "different shape"),
    ],
)
def test_attention_that_is_not_ours_to_compute_is_refused(
    kind: str, options: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    folder = save(tmp_path / kind, kind, **options)
    with pytest.raises(ModelError, match=fault):
        load_model(folder, PLAIN)


def change_config(folder: Path, **changes: Any) -> Any:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return AutoConfig.from_pretrained(folder)


def build(folder: Path, config: Any) -> GenericModel:
    with torch.inference_mode():
        return GenericModel(folder, config, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"layer_types": ["full_attention", "chunked_attention", "full_attention"]},
            "layers of type chunked_attention",
        ),
        ({"attention_chunk_size": 8}, "attention in chunks"),
        (
            {"layer_types": ["full_attention", "sliding_attention", "full_attention"]},
            "sliding window does not reach",
        ),
    ],
)
def test_masks_that_never_reach_our_attention_are_refused(
    changes: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    config = change_config(save_tiny("gpt_neox", tmp_path / "model"))
    for name, value in changes.items():
        setattr(config, name, value)
    with pytest.raises(ModelError, match=fault):
        build(tmp_path / "model", config)


def test_weights_that_transformers_cannot_load_are_refused(tmp_path: Path) -> None:
    folder = save_tiny("gpt_neox", tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="transformers cannot load this gpt_neox model"):
        load_model(folder, PLAIN)
    save_file({"other": torch.zeros(1)}, folder / "elsewhere.safetensors")
    with pytest.raises(ModelError, match="transformers cannot load"):
        load_model(folder, PLAIN)


def test_a_model_without_a_choice_of_logits_still_samples_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny("gpt_neox", tmp_path / "model")
    expected = generated(folder, [5, 6, 7], 24)
    forward = GPTNeoXForCausalLM.forward

    def all_logits(
        self: Any, input_ids: Any, position_ids: Any, use_cache: bool, sluice_attention: Any
    ) -> Any:
        return forward(
            self, input_ids, position_ids=position_ids, use_cache=use_cache, sluice_attention=sluice_attention
        )

    monkeypatch.setattr(GPTNeoXForCausalLM, "forward", all_logits)
    assert drive(runner_for(folder), [Run([5, 6, 7], list(range(10)), 0, 2)]) == [expected]


class Layer(nn.Module):
    layer_idx = 0
    is_causal = True


@pytest.mark.parametrize(
    ("layer", "options", "fault"),
    [
        ({}, {}, "do not reach the attention function"),
        ({}, {"sluice_attention": object(), "position_bias": torch.zeros(1)}, "position_bias"),
        ({"is_causal": False}, {"sluice_attention": object()}, "a mask of its own"),
        ({}, {"sluice_attention": object(), "attention_mask": torch.zeros(1)}, "a mask of its own"),
    ],
)
def test_arguments_we_do_not_know_are_an_error(
    layer: dict[str, Any], options: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    build(save_tiny("gpt_neox", tmp_path), AutoConfig.from_pretrained(tmp_path))  # registers the function
    module = Layer()
    for name, value in layer.items():
        setattr(module, name, value)
    heads = torch.zeros(1, 2, 3, 4)
    arguments = {"attention_mask": None} | options
    with pytest.raises(TypeError, match=fault):
        AttentionInterface()[ATTENTION](module, heads, heads, heads, **arguments)
