"""What a folder is said to take, against what it takes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.config import EngineSettings, ModelError
from engine.form import Form
from engine.needs import look_at, why_dtype
from engine.weight_files import WeightFiles
from tests.engine.tiny_models import VOCAB, save_tiny

LARGE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 4, "vocab_size": 4096}

GROWTH = """
import ctypes, sys
from pathlib import Path
from engine.config import EngineSettings
from engine.models import load_model

def anonymous():
    getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)(0)  # what the allocator keeps is not the model's
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0]) << 10

load_model(Path(sys.argv[1]), EngineSettings(dtype=sys.argv[3], native_dir=Path(sys.argv[4])))
before = anonymous()
loaded = load_model(Path(sys.argv[2]), EngineSettings(dtype=sys.argv[3], native_dir=Path(sys.argv[4])))
print(anonymous() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("kind", "dtype", "tied"),
    [
        ("llama", "float32", True),
        ("qwen2", "bfloat16", False),
        ("gpt_neox", "bfloat16", False),
        pytest.param("llama", "int8", True, marks=pytest.mark.native),
        pytest.param("qwen2", "int4", False, marks=pytest.mark.native),
    ],
)
def test_weights_take_what_is_said(
    kind: str, dtype: str, tied: bool, tmp_path: Path, native_dir: Path
) -> None:
    tiny = save_tiny(kind, tmp_path / "tiny", hidden_size=96, intermediate_size=96, tie_word_embeddings=tied)
    folder = save_tiny(kind, tmp_path / "large", **LARGE, tie_word_embeddings=tied)
    settings = EngineSettings(dtype=dtype, native_dir=native_dir)
    said = look_at(folder, settings, "large").needs
    command = [sys.executable, "-c", GROWTH, str(tiny), str(folder), dtype, str(native_dir)]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert said.weights * 0.9 < grown < said.weights * 1.1 + (24 << 20)


def test_a_token_takes_what_a_page_of_the_model_takes(tmp_path: Path) -> None:
    needs = look_at(save_tiny("llama", tmp_path), EngineSettings(dtype="float32"), "tiny").needs
    assert needs.token == 3 * 2 * 2 * 8 * 4  # layers, keys and values, heads, head size, bytes
    assert needs.context_tokens == 128
    assert needs.dtype == "float32"
    assert needs.others.keys() == {"int8", "int4"}


def test_a_shorter_context_and_a_model_of_transformers_own(tmp_path: Path) -> None:
    folder = save_tiny("gpt_neox", tmp_path)
    needs = look_at(folder, EngineSettings(dtype="float32", context_tokens=50), "neox").needs
    assert needs.context_tokens == 50
    assert needs.others == {}
    assert needs.weights == 4 * sum(one.elements for one in WeightFiles(folder).listed())


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_a_file_that_is_cut_short_is_named(cut: int, tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(
        ModelError, match=r"model\.safetensors: not a readable safetensors file.*copy it again"
    ):
        look_at(folder, EngineSettings(), "cut")


def test_blocks_that_our_decoder_alone_computes_are_refused_before_loading(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="choose auto"):
        look_at(save_tiny("gpt2", tmp_path), EngineSettings(dtype="int4"), "gpt2")


@pytest.mark.parametrize(
    ("dtype", "features", "device", "why"),
    [
        ("float32", {}, "cpu", "asked for by dtype"),
        ("auto", {"avx512_bf16": True}, "cpu", "the processor multiplies it natively"),
        ("auto", {}, "cpu", "the processor has no bfloat16 products"),
        ("auto", {}, "cuda", "what the GPU multiplies natively"),
    ],
)
def test_the_reason_of_a_number_type(
    dtype: str, features: dict[str, bool], device: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    form = Form(torch.device(device), torch.float32, 1)
    assert why_dtype(EngineSettings(dtype=dtype), form) == why


@pytest.mark.native
def test_an_output_matrix_that_our_own_products_keep_beside_the_embedding(
    tmp_path: Path, native_dir: Path
) -> None:
    folder = save_tiny("gpt2", tmp_path)
    settings = EngineSettings(dtype="float32")
    torchs, ours = (
        look_at(folder, replace(settings, native_dir=own), "tiny").needs.weights for own in (None, native_dir)
    )
    assert ours - torchs == VOCAB * 48 * 4


def test_a_gpu_is_asked_for_what_its_runner_takes_part_by_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = Form(torch.device("cuda"), torch.bfloat16, 1)
    monkeypatch.setattr("engine.needs.form_of", lambda settings, holds_blocks: form)
    folder = save_tiny("llama", tmp_path, vocab_size=4096)
    few, many = (look_at(folder, EngineSettings(max_running=rows), "tiny").needs for rows in (8, 256))
    assert list(few.rooms) == ["logits", "batch", "attention", "layers", "libraries", "moves"]
    assert few.work == sum(few.rooms.values())
    assert many.rooms["logits"] == 32 * few.rooms["logits"]
