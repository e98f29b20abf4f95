from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.config import EngineSettings, ModelError
from engine.form import form_of
from engine.models import load_model, pointwise_of
from engine.runner import TorchRunner
from engine.runners import runner_for
from tests.engine.tiny_models import save_tiny


def test_a_processor_computes_without_graphs(tmp_path: Path) -> None:
    settings = EngineSettings(dtype="float32", kv_bytes=1 << 20)
    runner = runner_for(load_model(save_tiny("llama", tmp_path), settings), settings)
    assert isinstance(runner, TorchRunner)
    assert runner.ahead == 0


def test_a_gpu_without_triton_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    form = replace(form_of(EngineSettings(), holds_blocks=False), device=torch.device("cuda"))
    monkeypatch.setitem(sys.modules, "engine.cuda.pointwise", None)
    with pytest.raises(ModelError, match="needs Triton"):
        pointwise_of(form)


def test_a_gpu_has_kernels_of_its_own_between_the_products() -> None:
    form = replace(form_of(EngineSettings(), holds_blocks=False), device=torch.device("cuda"))
    kernels = pointwise_of(form)
    assert kernels is not None
    assert kernels.norms(4096, torch.bfloat16)


@pytest.mark.parametrize("there", [True, False])
def test_auto_is_a_gpu_where_there_is_one(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    settings = EngineSettings(device="auto")
    if there:
        with pytest.raises(ModelError, match="'cuda' cannot be used here"):
            form_of(settings, holds_blocks=False)
    else:
        assert form_of(settings, holds_blocks=False).device.type == "cpu"
