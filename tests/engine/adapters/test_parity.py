"""Rows with adapters against what PEFT's merged models generate: greedy, float32, token for token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.adapter import Adapter
from engine.adapters.reader import AdapterReader
from engine.config import EngineSettings
from engine.models import LoadedModel, load_model
from engine.runner import TorchRunner
from tests.engine.adapters.peft_folders import MLP, save_adapter, save_merged
from tests.engine.driving import COUNT, Run, prompts, shuffled_pages
from tests.engine.tiny_models import LEAN, PAGE, generated, rows_of, save_tiny

LIMIT = 1 << 24
KINDS: dict[str, dict[str, Any]] = {
    "all of a layer": {},
    "queries and values": {"target_modules": ["q_proj", "v_proj"], "r": 3},
    "one layer's mlp": {"target_modules": MLP, "layers_to_transform": [1], "use_rslora": True},
    "patterns": {
        "target_modules": r".*\.(k_proj|o_proj|up_proj)",
        "rank_pattern": {"k_proj": 2, r"layers\.0\.mlp\.up_proj": 7},
        "alpha_pattern": {"o_proj": 3, r"0\.mlp\.up_proj": 20},
    },
    "all-linear": {"target_modules": "all-linear", "exclude_modules": ["down_proj"], "fan_in_fan_out": True},
}


def settings() -> EngineSettings:
    return EngineSettings(dtype="float32", page_tokens=PAGE, kv_bytes=4 << 20)


def read(loaded: LoadedModel, folder: Path, name: str = "one") -> Adapter:
    return AdapterReader(loaded.model.targets, loaded.dtype, loaded.device)(name, folder, LIMIT, 0)


def drive(runner: TorchRunner, runs: list[tuple[Run, Adapter | None]]) -> list[list[int]]:
    """Step all runs to their ends, each joining at its own step."""
    step = 0
    while not all(run.over for run, _ in runs):
        active = [(run, adapter) for run, adapter in runs if not run.over and run.joins <= step]
        rows = [
            replace(rows_of(run.prompt, run.reply, run.pages, run.chunk, run.done), adapter=adapter)
            for run, adapter in active
        ]
        for (run, _), row, result in zip(active, rows, runner.step(rows), strict=True):
            assert not isinstance(result, Exception)
            run.done += len(row.tokens)
            if result is not None:
                run.reply.append(result)
        step += 1
    return [run.reply for run, _ in runs]


@pytest.fixture(scope="module", params=LEAN)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(request.param, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def folders(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    home = tmp_path_factory.mktemp("adapters")
    return [
        save_adapter(base, home / str(seed), seed, **options) for seed, options in enumerate(KINDS.values())
    ]


@pytest.fixture(scope="module")
def expected(base: Path, folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    """Of the base, and of it merged with each adapter: a prompt each."""
    merged = [save_merged(base, folder, tmp_path_factory.mktemp("merged")) for folder in folders]
    return [
        generated(model, prompt, COUNT)
        for model, prompt in zip([base, *merged], _prompts(len(merged) + 1), strict=True)
    ]


def _prompts(count: int) -> list[list[int]]:
    return [prompt[::-1] for prompt in [*prompts(), *prompts()][:count]]


def test_each_adapter_alone_says_what_the_merged_model_says(
    base: Path, folders: list[Path], expected: list[list[int]]
) -> None:
    loaded = load_model(base, settings())
    runner = TorchRunner(loaded, settings())
    cases = zip(folders, _prompts(len(folders) + 1)[1:], expected[1:], strict=True)
    for folder, prompt, reply in cases:
        plain = drive(runner, [(Run(prompt, list(range(20)), 0, 64), None)])[0]
        assert drive(runner, [(Run(prompt, list(range(20)), 0, 64), read(loaded, folder))]) == [reply]
        assert plain != reply


@pytest.mark.parametrize("chunk", [1, 6])
def test_adapters_and_none_in_a_mixed_batch_with_staggered_arrivals(
    base: Path, folders: list[Path], expected: list[list[int]], chunk: int
) -> None:
    loaded = load_model(base, settings())
    runner = TorchRunner(loaded, settings())
    pages = shuffled_pages(len(expected), 40 + COUNT, runner.pages_total)
    adapters = [None, *(read(loaded, folder) for folder in folders)]
    runs = [
        (Run(prompt, pages[index], (5 * index) % 7, chunk + index), adapter)
        for index, (prompt, adapter) in enumerate(zip(_prompts(len(adapters)), adapters, strict=True))
    ]
    assert drive(runner, runs) == expected
