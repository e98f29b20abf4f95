from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, dequantize
from safetensors.torch import load_file

import engine.gguf_convert
import engine.quantized
from engine.checkpoint import Checkpoint
from engine.config import EngineSettings, ModelError
from engine.gguf_convert import convert_gguf, storage_dtype
from engine.models import load_model
from engine.request import Sampling
from engine.weight_files import WeightFiles
from tests.engine.driving import Run, drive
from tests.engine.tiny_gguf import write_gguf
from tests.engine.tiny_models import generated, runner_for, save_tiny

FAMILIES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3_text": "gemma3"}


def silent(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture(scope="module", params=FAMILIES)
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    return write_gguf(save_tiny("llama", folder / "model"), folder / "tiny.gguf", "llama")


def test_a_converted_file_holds_the_tensors_it_was_made_from(original: Path, tmp_path: Path) -> None:
    family = json.loads((original / "config.json").read_text())["model_type"]
    gguf = write_gguf(original, tmp_path / "tiny.gguf", FAMILIES[family])
    folder = convert_gguf(gguf, tmp_path / "out", silent)
    converted = load_file(folder / "model-00001.safetensors")
    source = load_file(original / "model.safetensors")
    assert {name: tensor.shape for name, tensor in converted.items()} == {
        name: tensor.shape for name, tensor in source.items()
    }
    for name, tensor in source.items():
        torch.testing.assert_close(converted[name], tensor, rtol=0, atol=1e-6)


def test_a_converted_llama_generates_what_the_original_does(llama: Path, tmp_path: Path) -> None:
    folder = convert_gguf(llama, tmp_path / "out", silent, generation={"temperature": 0.5})
    prompt = [5, 80, 120, 7]
    assert drive(runner_for(folder), [Run(prompt, list(range(10)), 0, 8)]) == [
        generated(llama.parent / "model", prompt, 24)
    ]
    assert json.loads((folder / "generation_config.json").read_text()) == {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "temperature": 0.5,
    }


def test_what_the_file_says_about_sampling_counts_where_nobody_says_more(tmp_path: Path) -> None:
    floats = {"general.sampling.temp": 0.5, "general.sampling.penalty_repeat": 1.25}
    tiny = write_gguf(save_tiny("llama", tmp_path / "model"), tmp_path / "own.gguf", "llama", floats=floats)
    folder = convert_gguf(tiny, tmp_path / "out", silent)
    defaults = load_model(folder, EngineSettings(dtype="float32")).defaults
    assert defaults == Sampling(temperature=0.5, top_k=40, top_p=0.95, min_p=0.05, repetition_penalty=1.25)


def test_progress_ends_at_the_whole(llama: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    convert_gguf(llama, tmp_path / "out", lambda *report: seen.append(report))
    assert {what for what, done, total in seen if done == total} == {what for what, _, _ in seen}


def test_large_models_are_written_in_several_files(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.gguf_convert, "SHARD_BYTES", 40_000)
    folder = convert_gguf(llama, tmp_path / "out", silent)
    assert len(list(folder.glob("*.safetensors"))) > 2
    prompt = [9, 33]
    assert drive(runner_for(folder), [Run(prompt, list(range(10)), 0, 8)]) == [generated(folder, prompt, 24)]


def test_an_existing_folder_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert convert_gguf(tmp_path / "absent.gguf", tmp_path / "out", silent) == tmp_path / "out"


def test_a_failure_half_way_leaves_nothing(llama: Path, tmp_path: Path) -> None:
    def full(what: str, done: int, total: int) -> None:
        if what.startswith("Converting") and done == 5:
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        convert_gguf(llama, tmp_path / "out", full)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []


def test_a_killed_conversion_is_not_trusted_and_its_rest_is_removed(llama: Path, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom engine.gguf_convert import convert_gguf\n"
        "def die(what, done, total):\n    what.startswith('Converting') and os.kill(os.getpid(), signal.SIGKILL)\n"
        "convert_gguf(Path(sys.argv[1]), Path(sys.argv[2]), die)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(llama), str(tmp_path / "out")], check=False)
    assert killed.returncode == -9
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob("out.partial-*"))
    convert_gguf(llama, tmp_path / "out", silent)
    assert (tmp_path / "out" / "config.json").exists()
    assert not list(tmp_path.glob("out.partial-*"))


def test_two_starts_at_once_convert_once(llama: Path, tmp_path: Path) -> None:
    converted: list[int] = []
    done: list[Path] = []

    def count(what: str, count: int, total: int) -> None:
        if what.startswith("Converting") and count == 1:
            converted.append(count)

    threads = [
        threading.Thread(target=lambda: done.append(convert_gguf(llama, tmp_path / "out", count)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [tmp_path / "out"] * 2
    assert converted == [1]


def test_a_missing_or_cut_file_is_named(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.gguf: no such file"):
        convert_gguf(tmp_path / "absent.gguf", tmp_path / "out", silent)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(llama.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"cut\.gguf: not a readable GGUF file"):
        convert_gguf(cut, tmp_path / "out", silent)


def test_a_file_cut_inside_its_tensors_is_refused(llama: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(llama.read_bytes()[:-5000])
    with pytest.raises(ModelError, match="not a readable GGUF file"):
        convert_gguf(cut, tmp_path / "out", silent)


@pytest.mark.parametrize(
    ("architecture", "extra", "fault"),
    [
        ("falcon", None, "architecture 'falcon'"),
        ("llama", "rope_freqs.weight", "rotary frequencies"),
        ("llama", "blk.0.strange.weight", r"unknown tensor 'blk\.0\.strange\.weight'"),
        ("llama", "strange.weight", "unknown tensor"),
    ],
)
def test_what_cannot_be_converted_is_named(
    architecture: str, extra: str | None, fault: str, llama: Path, tmp_path: Path
) -> None:
    gguf = write_gguf(llama.parent / "model", tmp_path / "odd.gguf", architecture, extra=extra)
    with pytest.raises(ModelError, match=fault) as refused:
        convert_gguf(gguf, tmp_path / "out", silent)
    assert "use a safetensors folder" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_file_without_a_tokenizer_is_refused(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.engine.tiny_gguf._write_vocabulary", lambda writer, size: None)
    gguf = write_gguf(llama.parent / "model", tmp_path / "mute.gguf", "llama")
    with pytest.raises(ModelError, match="cannot read its configuration or tokenizer"):
        convert_gguf(gguf, tmp_path / "out", silent)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0"])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_blocks_are_kept_to_the_bit(family: str, kind: str, tmp_path: Path) -> None:
    source = save_tiny(family, tmp_path / "source", hidden_size=96, intermediate_size=160)
    quantised = GGMLQuantizationType[kind]
    gguf = write_gguf(source, tmp_path / "tiny.gguf", FAMILIES[family], quantised=quantised)
    folder = convert_gguf(gguf, tmp_path / "out", silent)
    checkpoint = Checkpoint(WeightFiles(folder), torch.device("cpu"), torch.float32)
    originals = {tensor.name: tensor for tensor in GGUFReader(gguf).tensors}
    for name, ours in (("blk.1.ffn_down", "mlp.down_proj"), ("blk.1.attn_k", "self_attn.k_proj")):
        blocks = checkpoint.blocks([f"layers.1.{ours}.weight"])
        assert blocks is not None
        exact = torch.from_numpy(dequantize(originals[f"{name}.weight"].data, quantised))
        found = engine.quantized.dequantize(blocks)
        if family == "llama" and "attn" in name:
            exact = exact.view(2, 8, 2, 96).swapaxes(1, 2).reshape(32, 96)
        torch.testing.assert_close(found, exact, rtol=0, atol=1e-6)
        unpacked = checkpoint.take(f"layers.1.{ours}.weight")
        torch.testing.assert_close(unpacked, found, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize(
    ("types", "dtype"),
    [
        ({GGMLQuantizationType.F32}, torch.float32),
        ({GGMLQuantizationType.F16}, torch.float16),
        ({GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q8_0}, torch.bfloat16),
    ],
)
def test_matrices_keep_their_width(types: Any, dtype: torch.dtype) -> None:
    assert storage_dtype(types) == dtype
