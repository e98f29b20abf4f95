"""What is read from a model's folder, and the faults that are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import engine.models
from engine.attention import PagedCache, Span, StepAttention
from engine.config import EngineSettings, ModelError
from engine.decoder import Decoder
from engine.models import load_model, spare_threads
from engine.request import Sampling
from tests.engine.test_parity import Run, drive
from tests.engine.tiny_models import generated, runner_for, save_tiny

PLAIN = EngineSettings(dtype="float32")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny("llama", tmp_path / "model")


def change_config(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def write_generation(folder: Path, content: str) -> Path:
    (folder / "generation_config.json").write_text(content)
    return folder


def test_recommended_sampling_and_end_tokens_are_read(folder: Path) -> None:
    recommended = '{"temperature": 0.6, "top_k": 20, "repetition_penalty": 1.05, "eos_token_id": [7, 9]}'
    write_generation(folder, recommended)
    loaded = load_model(folder, PLAIN)
    assert loaded.defaults == Sampling(temperature=0.6, top_k=20, repetition_penalty=1.05)
    assert loaded.eos_ids == {2, 7, 9}


def test_no_recommendation_is_plain_sampling(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    change_config(folder, eos_token_id=None)
    loaded = load_model(folder, PLAIN)
    assert loaded.defaults == Sampling()
    assert loaded.eos_ids == set()


def test_a_model_recommended_without_sampling_is_greedy(folder: Path) -> None:
    assert load_model(write_generation(folder, '{"do_sample": false}'), PLAIN).defaults.temperature == 0


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_generation_config_is_named(folder: Path, content: str) -> None:
    with pytest.raises(ModelError, match=r"generation_config\.json.*mend or delete"):
        load_model(write_generation(folder, content), PLAIN)


def test_the_context_is_the_models_or_shorter_if_asked(folder: Path) -> None:
    assert load_model(folder, PLAIN).context_tokens == 128
    assert load_model(folder, EngineSettings(context_tokens=50)).context_tokens == 50
    assert load_model(folder, EngineSettings(context_tokens=5000)).context_tokens == 128


def test_the_context_ends_where_frequencies_would_change_with_length(folder: Path) -> None:
    scaled = {
        "rope_type": "dynamic",
        "rope_theta": 1e4,
        "factor": 2.0,
        "original_max_position_embeddings": 48,
    }
    loaded = load_model(change_config(folder, rope_parameters=scaled), PLAIN)
    assert loaded.context_tokens == 48
    assert isinstance(loaded.model, Decoder)


def test_the_text_half_of_a_larger_model_is_found(tmp_path: Path) -> None:
    text = save_tiny("gemma3_text", tmp_path / "text")
    whole = tmp_path / "whole"
    whole.mkdir()
    config = json.loads((text / "config.json").read_text())
    (whole / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": config}))
    renamed = {
        f"language_model.{name}": tensor for name, tensor in load_file(text / "model.safetensors").items()
    }
    save_file(renamed, whole / "model.safetensors", metadata={"format": "pt"})
    prompt = [4, 90, 33, 120, 5, 77, 8, 9]
    assert drive(runner_for(whole), [Run(prompt, list(range(10)), 0, 4)]) == [generated(text, prompt, 24)]


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no configuration that transformers can read"):
        load_model(tmp_path, PLAIN)


def test_an_unknown_family_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="no configuration that transformers can read"):
        load_model(change_config(folder, model_type="of-next-year"), PLAIN)


def test_quantised_weights_are_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="quantised"):
        load_model(change_config(folder, quantization_config={"quant_method": "gptq", "bits": 4}), PLAIN)


def test_a_model_that_generates_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(ModelError, match="does not generate text"):
        load_model(tmp_path, PLAIN)


def test_a_cut_weights_file_is_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:3000])
    with pytest.raises(ModelError, match=r"model\.safetensors: not a readable safetensors file"):
        load_model(folder, PLAIN)


def test_missing_weights_are_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"no tensor model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(folder, PLAIN)
    weights.unlink()
    with pytest.raises(ModelError, match="is the model whole"):
        load_model(folder, PLAIN)


def test_an_absent_device_is_named(folder: Path) -> None:
    for device in ("cuda:77", "warp"):
        with pytest.raises(ModelError, match=f"device '{device}' cannot be used here"):
            load_model(folder, EngineSettings(device=device))


@pytest.mark.parametrize(
    ("features", "dtype"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx2": True, "avx512_bf16": False}, torch.float32),
    ],
)
def test_bfloat16_is_chosen_where_the_processor_multiplies_it(
    features: dict[str, bool], dtype: torch.dtype, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert load_model(folder, EngineSettings()).dtype == dtype


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_computes_in_sixteen_bits(
    native: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: native)
    assert engine.models._dtype("auto", torch.device("cuda")) == dtype


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "int3"},
        {"threads": -1},
        {"page_tokens": 0},
        {"kv_bytes": -1},
        {"max_running": 0},
        {"chunk_tokens": 0},
    ],
)
def test_a_setting_out_of_range_is_named(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        EngineSettings(**changes)


def test_gemma_in_bfloat16_keeps_its_norms_precise(tmp_path: Path) -> None:
    folder = save_tiny("gemma3_text", tmp_path)
    logits = []
    for dtype in ("float32", "bfloat16"):
        loaded = load_model(folder, EngineSettings(dtype=dtype))
        cache = PagedCache(loaded.model.shapes, 3, 8, loaded.dtype, loaded.device)
        tokens, places = torch.tensor([5, 9, 77, 31]), torch.arange(4)
        attention = StepAttention(cache, [Span(0, 4, 0, [0])], places)
        with torch.inference_mode():
            logits.append(loaded.model.forward(tokens, places, attention, torch.tensor([3])))
    assert float(torch.corrcoef(torch.cat(logits))[0, 1]) > 0.99


@pytest.mark.parametrize(
    ("cores", "torchs_own", "threads"), [(1, 1, 1), (2, 2, 1), (2, 1, 1), (8, 8, 7), (8, 4, 4)]
)
def test_a_core_is_left_to_the_event_loop(
    cores: int, torchs_own: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr("torch.get_num_threads", lambda: torchs_own)
    assert spare_threads() == threads
