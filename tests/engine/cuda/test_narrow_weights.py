"""Models whose weights are kept in 8 bits, on the stand-in for a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine.config import EngineSettings, ModelError
from engine.cuda.codes import FP8, INT8
from engine.cuda.processor import ProcessorProducts
from engine.cuda.products import TritonProducts
from engine.cuda.weights import CodesLinear, NarrowWeights
from engine.form import Form, form_of
from engine.models import load_model, narrow_of
from engine.needs import look_at
from tests.engine.cuda.product_cases import rounded
from tests.engine.cuda.stand_in import graph_runner_for
from tests.engine.driving import Run, drive, prompts, shuffled_pages
from tests.engine.tiny_models import generated, save_tiny


@pytest.mark.parametrize(("kind", "name"), [("qwen2", INT8), ("gemma3_text", FP8)])
def test_replies_are_those_of_the_rounded_model(kind: str, name: str, tmp_path: Path) -> None:
    folder = rounded(save_tiny(kind, tmp_path, tie_word_embeddings=False), name)
    runner = graph_runner_for(folder, narrow=NarrowWeights(ProcessorProducts(), name), max_running=4)
    pages = shuffled_pages(2, 64, runner.pages_total)
    runs = [Run(prompts()[index], pages[index - 1], index, 5, 12) for index in (1, 2)]
    assert drive(runner, runs) == [generated(folder, run.prompt, run.count) for run in runs]


def test_on_tritons_products(tmp_path: Path) -> None:
    folder = rounded(save_tiny("qwen2", tmp_path, tie_word_embeddings=False, num_hidden_layers=1), FP8)
    runner = graph_runner_for(folder, 0, narrow=NarrowWeights(TritonProducts(4), FP8), max_running=2)
    runs = [Run(prompts()[index], [2 * index, 2 * index + 1], index, 9, 2) for index in (0, 1)]
    assert drive(runner, runs) == [generated(folder, run.prompt, run.count) for run in runs]


@pytest.mark.parametrize("tied", [True, False])
def test_weights_take_what_is_said(tied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny("llama", tmp_path, tie_word_embeddings=tied)
    form = Form(torch.device("cuda"), torch.bfloat16, 1, narrow=INT8)
    monkeypatch.setattr("engine.needs.form_of", lambda settings, holds_blocks: form)
    said = look_at(folder, EngineSettings(dtype=INT8, device="cuda"), "tiny").needs
    kept: list[torch.Tensor] = []

    class Counting(NarrowWeights):
        def _made(self, codes, bias, inputs, dtype):
            kept.extend((codes.values, codes.scales))
            return CodesLinear(ProcessorProducts(), codes, bias, dtype)

    load_model(folder, EngineSettings(dtype="float32"), Counting(ProcessorProducts(), INT8))
    vectors = [one for one in load_file(folder / "model.safetensors").values() if one.ndim == 1]
    embedding = 160 * 48 * 2
    assert said.weights == sum(one.nbytes for one in [*kept, *vectors]) + embedding
    assert said.dtype == INT8
    assert said.others == {}
    plain = Form(torch.device("cuda"), torch.bfloat16, 1)
    monkeypatch.setattr("engine.needs.form_of", lambda settings, holds_blocks: plain)
    assert look_at(folder, EngineSettings(device="cuda"), "tiny").needs.others == {INT8: said.weights}


class Capable:
    """A GPU to ask, where there is none."""

    multi_processor_count = 132

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
        monkeypatch.setattr("engine.form._device", torch.device)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: self)


@pytest.mark.parametrize("name", [INT8, FP8])
def test_a_gpu_keeps_them_and_computes_in_bfloat16(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Capable(monkeypatch, (9, 0))
    form = form_of(EngineSettings(dtype=name, device="cuda"), holds_blocks=True)
    assert (form.narrow, form.bits, form.products, form.dtype) == (name, None, None, torch.bfloat16)
    assert isinstance(narrow_of(form), NarrowWeights)
    assert form_of(EngineSettings(device="cuda"), holds_blocks=True).narrow is None


def test_what_a_device_does_not_compute_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="fp8 is computed on a GPU only; choose auto or device cuda"):
        form_of(EngineSettings(dtype=FP8), holds_blocks=False)
    Capable(monkeypatch, (8, 0))
    with pytest.raises(ModelError, match=r"compute capability 8\.9, and this has 8\.0; choose auto"):
        form_of(EngineSettings(dtype=FP8, device="cuda"), holds_blocks=False)
    with pytest.raises(ModelError, match="int4 is computed on a processor only"):
        form_of(EngineSettings(dtype="int4", device="cuda"), holds_blocks=False)


def test_models_of_transformers_own_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="fp8 is for models that our own decoder computes"):
        load_model(save_tiny("gpt2", tmp_path), EngineSettings(dtype=FP8))
