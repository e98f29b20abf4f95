from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.adapters.adapter import Adapter, AdapterError
from engine.adapters.reader import AdapterReader
from engine.adapters.targets import Targets, decoder_targets

CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"]}
PREFIX = "base_model.model.model."
QUERY = PREFIX + "layers.0.self_attn.q_proj."
LIMIT = 1 << 20


def targets() -> Targets:
    return decoder_targets(layers=2, hidden=8, intermediate=12, heads=2, kv_heads=1, head_dim=6)


def tensors(prefix: str = PREFIX) -> dict[str, Tensor]:
    made: dict[str, Tensor] = {}
    for layer in range(2):
        for module, outputs, inputs in (("self_attn.q_proj", 12, 8), ("mlp.down_proj", 8, 12)):
            name = f"{prefix}layers.{layer}.{module}."
            made[name + "lora_A.weight"] = torch.randn(2, inputs)
            made[name + "lora_B.weight"] = torch.randn(outputs, 2)
    return made


def write(folder: Path, held: dict[str, Tensor], **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | changes))
    save_file(held, folder / "adapter_model.safetensors")
    return folder


def read(folder: Path, name: str = "poet", limit: int = LIMIT, dtype: torch.dtype = torch.float32) -> Adapter:
    return AdapterReader(targets(), dtype, torch.device("cpu"))(name, folder, limit, 17)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    return write(tmp_path / "poet", tensors())


def test_an_adapter_says_what_it_is(folder: Path) -> None:
    adapter = read(folder)
    assert (adapter.name, adapter.rank, adapter.loaded_at) == ("poet", 2, 17)
    assert adapter.bytes == 2 * (2 * 8 + 2 * 12 + 2 * 12 + 2 * 8) * 4
    assert repr(adapter) == f"<Adapter poet {adapter.identity[:8]} rank=2>"


@pytest.mark.parametrize("prefix", ["base_model.model.", "base_model.model.model.language_model."])
def test_names_of_a_text_model_within_a_larger_one_are_known(tmp_path: Path, prefix: str) -> None:
    assert read(write(tmp_path / "poet", tensors(prefix))).rank == 2


def test_the_identity_is_the_contents(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert read(copy, "other").identity == read(folder).identity
    other = load_file(folder / "adapter_model.safetensors")
    other[QUERY + "lora_A.weight"][0, 0] += 1
    assert read(write(tmp_path / "other", other)).identity != read(folder).identity
    assert read(write(tmp_path / "scaled", tensors(), lora_alpha=5)).identity != read(folder).identity


def test_a_changed_file_changes_nothing_that_is_loaded(folder: Path) -> None:
    adapter = read(folder)
    before = [delta.down.clone() for delta in adapter.content.values()]
    (folder / "adapter_model.safetensors").write_bytes(b"\xff" * 100)
    assert all(
        torch.equal(was, delta.down) for was, delta in zip(before, adapter.content.values(), strict=True)
    )


def change(name: str, make: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor]], None]:
    def changed(held: dict[str, Tensor]) -> None:
        held[name] = make(held[name])

    return changed


def drop(*names: str) -> Callable[[dict[str, Tensor]], None]:
    def dropped(held: dict[str, Tensor]) -> None:
        for name in names:
            del held[name]

    return dropped


def add(name: str, tensor: Tensor) -> Callable[[dict[str, Tensor]], None]:
    return lambda held: held.update({name: tensor})


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (
            change(QUERY + "lora_A.weight", lambda t: t * float("nan")),
            "lora_A.weight holds numbers that are not",
        ),
        (change(QUERY + "lora_B.weight", lambda t: t / 0), "lora_B.weight holds numbers that are not finite"),
        (change(QUERY + "lora_A.weight", lambda t: t[:, :7].clone()), r"shape \(2, 7\); .* want \(2, 8\)"),
        (change(QUERY + "lora_B.weight", lambda t: t[:, :1].clone()), r"shape \(12, 1\); .* want \(12, 2\)"),
        (change(QUERY + "lora_A.weight", lambda t: t.to(torch.int8)), "is of torch.int8; only float32"),
        (change(QUERY + "lora_A.weight", lambda t: t.to(torch.float8_e4m3fn)), "is of torch.float8_e4m3fn"),
        (drop(QUERY + "lora_B.weight"), "layers.0.self_attn.q_proj.lora_B.weight is missing"),
        (
            drop(QUERY + "lora_A.weight", QUERY + "lora_B.weight"),
            "1 modules of target_modules have no tensors",
        ),
        (
            add(PREFIX + "layers.0.mlp.up_proj.lora_A.weight", torch.ones(2, 8)),
            "1 modules .* not in target_mod",
        ),
        (
            add(PREFIX + "layers.2.mlp.up_proj.lora_A.weight", torch.ones(2, 8)),
            "of no linear module .*unknown",
        ),
        (
            add(PREFIX + "embed_tokens.lora_embedding_A", torch.ones(2, 8)),
            "embed_tokens.lora_embedding_A is of no",
        ),
        (
            add("base_model.model.lm_head.lora_A.weight", torch.ones(2, 8)),
            "lm_head.lora_A.weight is of no linear",
        ),
        (add(QUERY + "lora_magnitude_vector", torch.ones(12)), "lora_magnitude_vector is of no linear"),
        (
            add("base_model.model.layers.0.mlp.up_proj.lora_A.weight", torch.ones(2, 8)),
            "no model, or to several",
        ),
        (lambda held: held.clear(), "no model, or to several"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    folder: Path, spoil: Callable[[dict[str, Tensor]], None], fault: str
) -> None:
    held = tensors()
    spoil(held)
    write(folder, held)
    with pytest.raises(AdapterError, match=rf"adapter 'poet': {folder}/adapter_model.safetensors: .*{fault}"):
        read(folder)


def test_an_unsupported_field_is_named_with_its_file(folder: Path) -> None:
    write(folder, tensors(), use_dora=True)
    with pytest.raises(AdapterError, match=rf"adapter 'poet': {folder}/adapter_config.json: use_dora is set"):
        read(folder)


def test_numbers_too_great_for_the_models_type_are_refused(folder: Path) -> None:
    write(folder, tensors(), lora_alpha=1e6)
    with pytest.raises(AdapterError, match="times lora_alpha are too great"):
        read(folder, dtype=torch.float16)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_configuration_that_is_no_json_is_refused(folder: Path, content: bytes) -> None:
    (folder / "adapter_config.json").write_bytes(content)
    with pytest.raises(AdapterError, match=r"adapter_config.json is no JSON"):
        read(folder)


@pytest.mark.parametrize(
    "content", [b"", b"not safetensors at all", b"\xff" * 64, b'\x40\0\0\0\0\0\0\0{"a":{"dtype":"F4"']
)
def test_weights_that_are_no_safetensors_are_refused(folder: Path, content: bytes) -> None:
    (folder / "adapter_model.safetensors").write_bytes(content)
    with pytest.raises(AdapterError, match=r"adapter_model.safetensors: "):
        read(folder)


def test_a_pickle_is_refused_unread(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(AdapterError, match="is a pickle, which can run code"):
        read(folder)


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"nowhere/adapter_config.json cannot be read \(No such file"):
        read(tmp_path / "nowhere")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"adapter_model.safetensors cannot be read"):
        read(folder)


@pytest.mark.parametrize(
    "put",
    [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir],
    ids=["pipe", "device", "folder"],
)
@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_what_is_no_regular_file_is_never_opened(
    name: str, put: Callable[[Path], None], folder: Path
) -> None:
    (folder / name).unlink()
    put(folder / name)
    with pytest.raises(AdapterError, match=f"{re.escape(name)} is no file"):
        read(folder)


def test_a_file_larger_than_the_room_is_never_read(folder: Path) -> None:
    with pytest.raises(AdapterError, match=r"safetensors has \d+ bytes; there is room for 100"):
        read(folder, limit=100)


@pytest.mark.parametrize("name", ["", "a:b", "a/b", "..", "x" * 65, "a b", "ä", "a\n"])
def test_a_name_that_could_not_be_asked_for_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(AdapterError, match="the name must be"):
        read(folder, name)
