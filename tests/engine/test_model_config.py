"""Reading config.json ourselves: where we do, it is what transformers' class would say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from engine.architecture import architecture_of
from engine.config import ModelError
from engine.model_config import plain_config, read_config, read_object
from engine.models import _eos_ids
from engine.rope import rope_for, steady_context
from tests.engine.tiny_models import GENERIC, LEAN, save_tiny

CPU = torch.device("cpu")
PLAIN = {"llama", "llama-biased", "llama-odd", "qwen3"}


@pytest.mark.parametrize("name", [*LEAN, *GENERIC])
def test_what_is_read_plainly_is_what_transformers_reads(name: str, tmp_path: Path) -> None:
    folder = save_tiny(name, tmp_path)
    plain = plain_config(read_object(folder / "config.json"))
    assert (plain is not None) == (name in PLAIN)
    if plain is None:
        return
    full = AutoConfig.from_pretrained(folder)
    architecture = architecture_of(plain)
    assert architecture == architecture_of(full)
    assert steady_context(plain) == steady_context(full)
    assert _eos_ids({}, plain) == _eos_ids({}, full)
    for kind in set(architecture.rope_kinds) if architecture else set():
        mine, theirs = rope_for(plain, kind, CPU), rope_for(full, kind, CPU)
        assert torch.equal(mine.inverse_frequencies, theirs.inverse_frequencies)
        assert mine.scale == theirs.scale


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = save_tiny("llama", tmp_path_factory.mktemp("written"))
    content: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return content


@pytest.mark.parametrize(
    "changes",
    [
        {"num_key_value_heads": None},
        {"head_dim": None},
        {"eos_token_id": None},
        {"partial_rotary_factor": 0.5},
        {"rope_theta": 5_000.0},
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}},
        {"rope_parameters": {"rope_theta": 10_000.0}},
    ],
    ids=str,
)
def test_a_file_that_says_less_or_more_is_left_to_transformers(
    written: dict[str, Any], changes: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(written | changes))
    assert plain_config(read_object(tmp_path / "config.json")) is None
    assert not isinstance(read_config(tmp_path), SimpleNamespace)


@pytest.mark.parametrize("missing", ["head_dim", "rms_norm_eps", "tie_word_embeddings", "rope_parameters"])
def test_a_default_comes_from_transformers(written: dict[str, Any], missing: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in written.items() if k != missing}))
    assert plain_config(read_object(tmp_path / "config.json")) is None
    assert hasattr(read_config(tmp_path), missing)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON (nested too deep)"),
        ("null", "not a JSON object"),
        ("[]", "not a JSON object"),
        ('{"model_type": "llama"}x', "not readable as JSON"),
        ("{}", "no configuration that transformers can read"),
        ('{"model_type": ["llama"]}', "no configuration that transformers can read"),
        ('{"model_type": "llama", "vocab_size": "x"}', "no configuration that transformers can read"),
    ],
    ids=lambda text: text[:40],
)
def test_what_is_no_configuration_is_refused_by_file_and_fault(
    content: str, fault: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=re.escape(f"{tmp_path / 'config.json'}: {fault}")):
        read_config(tmp_path)


def test_a_folder_without_a_configuration_is_refused_by_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json: no such file; copy"):
        read_config(tmp_path)


def test_quantised_weights_are_refused_and_not_read_plainly(written: dict[str, Any], tmp_path: Path) -> None:
    quantised = written | {"quantization_config": {"quant_method": "fp8"}}
    (tmp_path / "config.json").write_text(json.dumps(quantised))
    with pytest.raises(ModelError, match="quantised"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("num_hidden_layers", value) for value in (0, -1, 10**9, 1e30)),
        *(("max_position_embeddings", value) for value in (0, 1, -5, 10**12)),
        *(("vocab_size", value) for value in (0, 10**9)),
    ],
)
@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
def test_a_number_that_no_model_has_is_refused_before_anything_is_made_of_it(
    written: dict[str, Any], name: str, value: float, nested: bool, tmp_path: Path
) -> None:
    content = written | {name: value}
    if nested:
        content = {"model_type": "gemma3", "text_config": content}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=rf"config\.json: {name} is .*, not a number from"):
        read_config(tmp_path)
