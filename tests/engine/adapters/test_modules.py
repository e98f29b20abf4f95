"""Adapters of models that run on transformers' own modules, against what PEFT's merged models generate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from engine.adapters.adapter import AdapterError
from engine.adapters.mixer import Mixer
from engine.adapters.modules import AdaptedModules
from engine.models import load_model
from engine.runner import TorchRunner
from tests.engine.adapters.peft_folders import save_adapter, save_merged
from tests.engine.adapters.test_parity import drive, read, settings
from tests.engine.driving import COUNT, Run, prompts, shuffled_pages
from tests.engine.tiny_models import generated, save_tiny

KINDS: dict[str, dict[str, Any]] = {
    "gpt_neox": {"target_modules": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]},
    "gpt2": {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True},
    "phi3": {"target_modules": ["qkv_proj", "gate_up_proj"], "use_rslora": True},
    "olmo2": {"target_modules": "all-linear"},
    "gemma2": {"target_modules": r".*\.1\..*_proj"},
}


@pytest.fixture(scope="module", params=KINDS)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(request.param, tmp_path_factory.mktemp("models") / request.param)


def test_adapters_and_none_in_a_batch_say_what_the_merged_models_say(base: Path, tmp_path: Path) -> None:
    folders = [save_adapter(base, tmp_path / f"{seed}", seed, **KINDS[base.name]) for seed in (1, 2)]
    models = [base, *(save_merged(base, folder, tmp_path / f"merged-{folder.name}") for folder in folders)]
    asked = prompts()[:3]
    expected = [generated(model, prompt, COUNT) for model, prompt in zip(models, asked, strict=True)]
    loaded = load_model(base, settings())
    runner = TorchRunner(loaded, settings())
    pages = shuffled_pages(3, 40 + COUNT, runner.pages_total)
    adapters = [None, *(read(loaded, folder) for folder in folders)]
    runs = [
        (Run(prompt, pages[index], 2 * index, 1 + index), adapter)
        for index, (prompt, adapter) in enumerate(zip(asked, adapters, strict=True))
    ]
    assert drive(runner, runs) == expected
    assert expected[1] != generated(base, asked[1], COUNT)
    plain = Run(asked[0], list(range(20)), 0, 64)
    assert drive(runner, [(plain, None)]) == expected[:1], "a step behind theirs adds nothing"


def test_a_module_that_may_not_be_adapted_is_refused_by_name(base: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    output = next(name for name, one in model.named_modules() if one is model.get_output_embeddings())
    folder = save_adapter(base, tmp_path / "output", target_modules=[output])
    with pytest.raises(AdapterError, match=f"{output}.* is of no linear module that this model has"):
        read(load_model(base, settings()), folder)


def test_modules_of_another_number_type_are_left_alone(base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    everything = AdaptedModules(model, torch.float32, Mixer(torch.device("cpu"))).targets
    assert everything.sites
    assert not AdaptedModules(model, torch.bfloat16, Mixer(torch.device("cpu"))).targets.sites


class Routed(nn.Module):
    """A layer with experts, each of which sees some of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(2, 2)
        self.experts = nn.ModuleList([nn.Linear(2, 2)])
        self.head = nn.Linear(2, 2)
        self.layer = nn.ModuleDict({"experts": nn.ModuleList([nn.Linear(2, 2)])})

    def get_output_embeddings(self) -> nn.Module:
        return self.head


def test_experts_are_left_alone() -> None:
    found = AdaptedModules(Routed(), torch.float32, Mixer(torch.device("cpu")))
    assert [site.modules for site in found.targets.sites] == [("gate",)]
