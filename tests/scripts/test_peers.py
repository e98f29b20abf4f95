from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.peers.model_folder import link_folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "blocks-00001.safetensors").write_bytes(b"ours")
    return folder


def test_the_folder_names_the_class_and_takes_no_room(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "for" / "peers"
    link_folder(source, target)
    config = json.loads((target / "config.json").read_text())
    assert config == {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    assert sorted(path.name for path in target.iterdir()) == ["config.json", "model.safetensors"]
    assert (target / "model.safetensors").is_symlink()
    assert (target / "model.safetensors").read_bytes() == b"weights"
    assert json.loads((source / "config.json").read_text()) == {"model_type": "llama"}


def test_a_folder_that_is_there_is_left_alone(source: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        link_folder(source, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]
