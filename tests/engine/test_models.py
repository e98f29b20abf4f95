"""What is read from a model's folder, and the faults that are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType
from safetensors.torch import load_file, save_file

from engine.attention import StepAttention
from engine.config import EngineSettings, ModelError
from engine.decoder import Decoder
from engine.form import computed_dtype, crew_threads, spare_threads
from engine.gguf_convert import convert_gguf
from engine.models import load_model
from engine.paged_cache import PagedCache
from engine.quantized import dequantize, quantize
from engine.request import Sampling
from engine.span import Span
from tests.engine.driving import Run, drive
from tests.engine.tiny_gguf import write_gguf
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


@pytest.mark.parametrize(
    "fault",
    [
        *('"temperature": NaN', '"temperature": -1', '"temperature": "hot"', '"temperature": true'),
        *('"top_p": -1', '"top_p": 1.5', '"top_k": 1e30', '"min_p": []', '"repetition_penalty": 0'),
        *(
            '"eos_token_id": 1000000000000000000000000000000',
            '"eos_token_id": [2, -1]',
            '"eos_token_id": "x"',
        ),
    ],
)
def test_a_recommendation_that_every_request_would_fail_of_is_refused_by_its_name(
    folder: Path, fault: str
) -> None:
    name = fault.split('"')[1]
    with pytest.raises(ModelError, match=rf"generation_config\.json: {name} is no"):
        load_model(write_generation(folder, f"{{{fault}}}"), PLAIN)


def test_what_is_recommended_as_null_is_left_to_us(folder: Path) -> None:
    nothing = '{"temperature": null, "top_k": null, "eos_token_id": null}'
    assert load_model(write_generation(folder, nothing), PLAIN).defaults == Sampling()


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_generation_config_is_named(folder: Path, content: str) -> None:
    with pytest.raises(ModelError, match=r"generation_config\.json.*mend or replace"):
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


def test_an_unknown_family_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="architecture 'of-next-year' is none of those"):
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


def test_a_gpu_that_is_not_the_first_is_named_otherwise(folder: Path) -> None:
    with pytest.raises(ModelError, match="choose meta, and which it is by CUDA_VISIBLE_DEVICES"):
        load_model(folder, EngineSettings(device="meta:1"))


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
    assert computed_dtype("auto", torch.device("cuda")) == dtype


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
    ("cores", "torchs_own", "threads", "crew"),
    [(1, 1, 1, 1), (2, 2, 1, 2), (2, 1, 1, 1), (3, 3, 2, 2), (8, 8, 7, 7), (8, 4, 4, 4)],
)
def test_a_core_is_left_to_the_event_loop(
    cores: int, torchs_own: int, threads: int, crew: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr("engine.form._OFFERED", torchs_own)
    assert (spare_threads(), crew_threads()) == (threads, crew)


def logits_of(folder: Path, settings: EngineSettings, rows: int) -> torch.Tensor:
    loaded = load_model(folder, settings)
    cache = PagedCache(loaded.model.shapes, 3, 64, loaded.dtype, loaded.device)
    tokens, places = torch.arange(rows) * 7 % 150, torch.arange(rows)
    attention = StepAttention(cache, [Span(0, rows, 0, [0])], places)
    with torch.inference_mode():
        return loaded.model.forward(tokens, places, attention, places)


def rounded_to(weight: torch.Tensor, bits: int, name: str) -> torch.Tensor:
    """The weight that blocks of so many bits stand for; 8 for the two matrices of the vocabulary."""
    if weight.ndim == 1:
        return weight
    return dequantize(quantize(weight, 8 if "embed" in name or "head" in name else bits))


@pytest.mark.native
@pytest.mark.parametrize("rows", [3, 20, 40])
@pytest.mark.parametrize("name", ["llama-biased", "mistral", "qwen2", "qwen3", "gemma3_text"])
def test_every_family_in_blocks_is_close_to_its_numbers(
    name: str, rows: int, tmp_path: Path, native_dir: Path
) -> None:
    folder = save_tiny(name, tmp_path, hidden_size=96, intermediate_size=160, head_dim=16)
    tensors = load_file(folder / "model.safetensors")
    for dtype, bits in (("int8", 8), ("int4", 4)):
        rounded = {name: rounded_to(weight, bits, name) for name, weight in tensors.items()}
        save_file(rounded, folder / "model.safetensors", metadata={"format": "pt"})
        exact = logits_of(folder, PLAIN, rows)
        found = logits_of(folder, EngineSettings(dtype=dtype, native_dir=native_dir), rows)
        assert float(torch.corrcoef(torch.stack((exact.flatten(), found.flatten())))[0, 1]) > 0.99
        plain = logits_of(folder, EngineSettings(dtype="bfloat16"), rows)
        assert not torch.equal(found, plain)


def quantised(tmp_path: Path) -> Path:
    """A folder as it comes out of a GGUF file in Q4_1."""
    source = save_tiny("llama", tmp_path / "source", hidden_size=96, intermediate_size=160)
    kind = GGMLQuantizationType.Q4_1
    gguf = write_gguf(source, tmp_path / "tiny.gguf", "llama", quantised=kind)
    return convert_gguf(gguf, tmp_path / "model", lambda what, done, total: None)


@pytest.mark.native
def test_what_its_file_has_in_blocks_is_computed_from_them(tmp_path: Path, native_dir: Path) -> None:
    folder = quantised(tmp_path)
    found = logits_of(folder, EngineSettings(native_dir=native_dir), 3)
    assert list(native_dir.glob("products-*.so"))
    exact = logits_of(folder, PLAIN, 3)
    assert float(torch.corrcoef(torch.stack((exact.flatten(), found.flatten())))[0, 1]) > 0.999


def test_without_a_compiler_the_weights_are_unpacked_and_the_log_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    folder = quantised(tmp_path)
    assert load_model(folder, EngineSettings(native_dir=tmp_path / "native")).dtype == torch.float32
    assert "weights=float32 reason='the processor lacks avx512_f" in caplog.text


@pytest.mark.parametrize("dtype", ["int4", "int8"])
def test_blocks_that_cannot_be_computed_are_refused(
    dtype: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(ModelError, match=f"dtype {dtype} cannot be had.*avx512_f; or choose auto"):
        load_model(folder, EngineSettings(dtype=dtype, native_dir=folder / "native"))
    with pytest.raises(ModelError, match=f"dtype {dtype} is computed on a processor only"):
        load_model(folder, EngineSettings(dtype=dtype, device="meta"))


def test_blocks_are_refused_for_architectures_that_transformers_computes(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match="int4 is for models that our own decoder computes, which gpt2 is not"
    ):
        load_model(save_tiny("gpt2", tmp_path), EngineSettings(dtype="int4"))
