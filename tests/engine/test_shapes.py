"""Files that can be read and are not what they should be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gguf import GGMLQuantizationType
from safetensors.torch import load_file, save_file

from engine.config import EngineSettings, ModelError
from engine.gguf_convert import convert_gguf
from engine.models import load_model
from engine.torch_engine import build_torch_engine
from tests.engine.tiny_chat import save_tiny_chat
from tests.engine.tiny_gguf import write_gguf
from tests.engine.tiny_models import LEAN, save_tiny

PLAIN = EngineSettings(dtype="float32")


def change(path: Path, name: str, tensor: torch.Tensor) -> None:
    tensors = load_file(path)
    assert name in tensors
    save_file(tensors | {name: tensor}, path, metadata={"format": "pt"})


@pytest.mark.parametrize("kind", LEAN)
def test_every_family_fits_its_own_configuration(kind: str, tmp_path: Path) -> None:
    load_model(save_tiny(kind, tmp_path), PLAIN)


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("self_attn.q_proj", (48, 47), "is 48 x 47 where config.json speaks of 48 x 48"),
        ("self_attn.k_proj", (17, 48), "is 17 x 48 where config.json speaks of 16 x 48"),
        ("mlp.down_proj", (48,), "is 48 where config.json speaks of 48 x 80"),
        ("mlp.up_proj", (), "is a single number where"),
    ],
)
def test_a_matrix_of_another_shape_is_named(
    name: str, shape: tuple[int, ...], said: str, tmp_path: Path
) -> None:
    folder = save_tiny("llama", tmp_path)
    change(folder / "model.safetensors", f"model.layers.1.{name}.weight", torch.zeros(shape))
    with pytest.raises(ModelError, match=rf"model\.layers\.1\.{name}\.weight {said}"):
        load_model(folder, PLAIN)


def test_blocks_of_another_shape_are_named(tmp_path: Path) -> None:
    source = save_tiny("llama", tmp_path / "source", hidden_size=96, intermediate_size=160)
    kind = GGMLQuantizationType.Q4_1
    gguf = write_gguf(source, tmp_path / "tiny.gguf", "llama", quantised=kind)
    folder = convert_gguf(gguf, tmp_path / "model", lambda what, done, total: None)
    load_model(folder, PLAIN)
    name = "model.layers.0.mlp.up_proj.weight.codes"
    change(next(folder.glob("blocks-*")), name, torch.zeros(160, 2, 16, dtype=torch.uint8))
    with pytest.raises(
        ModelError, match=r"up_proj\.weight\.codes is 160 x 64 where config.json speaks of 160 x 96"
    ):
        load_model(folder, PLAIN)


def test_weights_that_are_no_numbers_are_found_out_before_anybody_asks(tmp_path: Path) -> None:
    folder = save_tiny_chat(tmp_path)
    build_torch_engine(folder, PLAIN)
    norm = "model.norm.weight"
    change(folder / "model.safetensors", norm, torch.full((48,), float("nan")))
    with pytest.raises(ModelError, match=r"what the model computes is not a number.*copy the folder again"):
        build_torch_engine(folder, PLAIN)
