"""Patterns of configurations that nobody vouches for: matched elsewhere, within a limit, each fault by its field."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.adapters import matching, patterns
from engine.adapters.adapter import AdapterError
from engine.adapters.choice import choose
from engine.adapters.config import ConfigFault, parse_config
from engine.adapters.files import checked_adapter
from engine.adapters.patterns import end_of_name, find, layer_number, whole_name
from engine.adapters.reader import AdapterReader
from engine.adapters.store import AdapterLimits, AdapterStore
from tests.engine.adapters.test_reader import CONFIG, LIMIT, read, targets, tensors, write

ENDLESS = "([a-z._0-9]+)+X"
NAMES = [f"model.layers.{layer}.self_attn.q_proj" for layer in range(3)]


def test_a_pattern_that_never_ends_is_given_up_and_named() -> None:
    good = whole_name("target_modules", ".*q_proj")
    with pytest.raises(ConfigFault, match=r"rank_pattern holds '.*X', which takes more than 1 s to match"):
        find([good, end_of_name("rank_pattern", ENDLESS)], NAMES, limit_s=1)


@pytest.mark.anyio
async def test_the_event_loop_goes_on_beside_a_pattern_that_never_ends(tmp_path: Path) -> None:
    folder = write(tmp_path / "endless", tensors(), target_modules=ENDLESS)
    store = AdapterStore(AdapterReader(targets(), torch.float32, torch.device("cpu")), AdapterLimits())
    loading = asyncio.create_task(store.load("endless", folder))
    for _ in range(3):
        await asyncio.to_thread(folder.stat)
        assert not loading.done()
    with pytest.raises(AdapterError, match=r"'endless': .*config.json: target_modules .* 5 s to match"):
        await loading
    assert len(store) == 0


def test_a_process_that_ends_early_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_MATCH", (sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(ConfigFault, match=r"target_modules holds 'x', which cannot be matched .* with 3"):
        find([whole_name("target_modules", "x")], NAMES)


def test_names_alone_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_MATCH", ("/nowhere",))
    assert list(choose(parse_config(CONFIG | {"exclude_modules": ["k_proj"]}), NAMES)) == NAMES


def test_each_way_to_match() -> None:
    numbers = layer_number("layers")
    end, whole = end_of_name("rank_pattern", "q_proj"), whole_name("target_modules", "q_proj")
    found = find([numbers, end, whole], NAMES)
    assert found[numbers] == dict(zip(NAMES, "012", strict=True))
    assert list(found[end]) == NAMES
    assert found[whole] == {}


def test_the_program_answers_line_by_line() -> None:
    asked = json.dumps([[("match", "a"), ("match", "("), ("whole", "b")], ["ab", "b"]])
    ended = subprocess.run(
        [sys.executable, "-I", "-S", matching.__file__], input=asked, capture_output=True, text=True
    )
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [lines[0], lines[2]] == [{"found": {"ab": ""}}, {"found": {"b": ""}}]
    assert "no regular expression" in lines[1]["fault"]


def test_a_layer_without_a_number_is_none() -> None:
    assert matching.answer("number", r"x|y(\d+)", ["x", "y7", "z"]) == {"found": {"x": "", "y7": "7"}}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"target_modules": "(q_proj"}, r"target_modules holds '\(q_proj', no regular expression"),
        ({"target_modules": "a{99999999999999}"}, "target_modules holds .*, no regular expression"),
        ({"target_modules": "(" * 2000 + ")" * 2000}, "target_modules holds .*"),
        ({"exclude_modules": "["}, "exclude_modules holds .*, no regular expression"),
        ({"alpha_pattern": {"*": 1}}, r"alpha_pattern holds '\*', no regular expression"),
        ({"rank_pattern": {"(?i)q_proj": 4}}, r"rank_pattern holds '\(\?i\)q_proj', no regular expression"),
        ({"layers_to_transform": 1, "layers_pattern": "(?i)layers"}, "layers_pattern holds .*, no regular"),
        ({"layers_to_transform": 1, "layers_pattern": "(layers)"}, r"layers_pattern .*write \(\?:\.\.\.\)"),
    ],
)
def test_a_wrong_pattern_is_named_by_file_and_field(
    tmp_path: Path, change: dict[str, Any], fault: str
) -> None:
    folder = write(tmp_path / "poet", tensors(), **change)
    expected = rf"adapter 'poet': {folder}/adapter_config.json: {fault}"
    with pytest.raises(AdapterError, match=expected):
        read(folder)
    with pytest.raises(AdapterError, match=expected):
        checked_adapter("poet", folder, LIMIT, 17)


def test_a_rank_is_chosen_by_the_whole_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "poet", tensors(), r=9, rank_pattern={r"model\.layers\.\d\..*": 2})
    assert read(folder).rank == 2
