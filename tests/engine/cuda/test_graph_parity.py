"""The runner of graphs against transformers' `generate` and against the other runner, token for token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.cuda.pointwise import TritonPointwise
from engine.cuda.triton_kernels import TritonKernels
from tests.engine.cuda.stand_in import graph_runner_for
from tests.engine.driving import COUNT, drive, prompts, sampled_runs, staggered
from tests.engine.tiny_models import GENERIC, LEAN, generated, runner_for, save_tiny


@pytest.fixture(scope="module", params=[*LEAN, *GENERIC])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(request.param, tmp_path_factory.mktemp(request.param))


def test_greedy_in_a_mixed_batch(folder: Path) -> None:
    expected = [generated(folder, prompt, COUNT) for prompt in prompts()]
    runner = graph_runner_for(folder, 3)
    assert drive(runner, staggered(runner.pages_total, 5)) == expected[::-1]


@pytest.mark.parametrize("ahead", [0, 1, 4])
def test_seeds_give_the_same_text_as_without_graphs(ahead: int, tmp_path: Path) -> None:
    folder = save_tiny("qwen3", tmp_path)
    expected = drive(runner_for(folder), sampled_runs())
    assert drive(graph_runner_for(folder, ahead), sampled_runs()) == expected
    alone = [drive(graph_runner_for(folder, ahead), [replace(run, joins=0)])[0] for run in sampled_runs()]
    assert alone == expected


@pytest.mark.parametrize("kind", ["llama", "gemma3_text"])
def test_on_tritons_kernels(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.models.pointwise_of", lambda form: TritonPointwise())
    layers = {"num_hidden_layers": 1} if kind == "llama" else {}
    folder = save_tiny(kind, tmp_path, **layers)
    runner = graph_runner_for(folder, 1, TritonKernels(4, 128), max_running=4)
    runs = staggered(runner.pages_total, 40, 3)
    expected = [generated(folder, run.prompt, 3) for run in runs]
    assert drive(runner, runs) == expected
