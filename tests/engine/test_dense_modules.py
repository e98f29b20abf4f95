from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from engine.crew import Crew
from engine.dense import Dense
from engine.dense_modules import take_over
from tests.engine.driving import COUNT, Run, drive, prompts
from tests.engine.tiny_models import generated, runner_for, save_tiny

pytestmark = pytest.mark.native


class Doubled(nn.Linear):
    """Does more than a linear module."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "phi3", "olmo2", "gemma2"])
def test_models_say_what_they_said(name: str, tmp_path: Path, native_dir: Path) -> None:
    folder = save_tiny(name, tmp_path)
    runner = runner_for(folder, native_dir=native_dir)
    for prompt in prompts():
        run = Run(prompt, list(range(20)), 0, 64)
        assert drive(runner, [run]) == [generated(folder, prompt, COUNT)]


@torch.inference_mode()
def test_weights_are_kept_once_but_for_those_of_an_embedding(native_dir: Path) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {
            "tokens": nn.Embedding(20, 8),
            "hidden": nn.Linear(8, 12),
            "turned": Conv1D(12, 8),
            "more": Doubled(8, 12),
            "wide": nn.Linear(8, 12, dtype=torch.float64),
            "head": nn.Linear(8, 20, bias=False),
        }
    )
    model["head"].weight = model["tokens"].weight
    x = torch.randn(2, 3, 8)
    expected = {name: model[name](x) for name in ("hidden", "turned", "more", "head")}
    take_over(model, Dense.load(native_dir, torch.float32, Crew(None, 1)))
    for name, out in expected.items():
        torch.testing.assert_close(model[name](x), out)
    assert {name: module.weight.numel() for name, module in model.items()} == {
        "tokens": 160,
        "hidden": 0,
        "turned": 0,
        "more": 96,
        "wide": 96,
        "head": 0,
    }
