"""Models that our own kernels compute, against transformers' `generate`: greedy, float32, token for token."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine import library
from engine.batch import Row
from engine.config import EngineSettings
from engine.models import load_model
from engine.request import EngineError
from tests.engine.driving import COUNT, LENGTHS, Run, drive, prompts, shuffled_pages
from tests.engine.tiny_models import GREEDY, WIDE, generated, runner_for, save_tiny

pytestmark = pytest.mark.native


@pytest.fixture(scope="module", params=WIDE)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[list[int]]:
    return [generated(folder, prompt, COUNT) for prompt in prompts()]


def test_alone_with_pages_in_order(folder: Path, expected: list[list[int]], native_dir: Path) -> None:
    runner = runner_for(folder, native_dir=native_dir)
    for prompt, reply in zip(prompts(), expected, strict=True):
        assert drive(runner, [Run(prompt, list(range(20)), 0, 64)]) == [reply]


@pytest.mark.parametrize("chunk", [1, 5])
@pytest.mark.parametrize("threads", [1, 2])
def test_in_a_mixed_batch_with_staggered_arrivals(
    folder: Path, expected: list[list[int]], chunk: int, threads: int, native_dir: Path
) -> None:
    before = torch.get_num_threads()
    runner = runner_for(folder, native_dir=native_dir, threads=threads)
    torch.set_num_threads(before)
    pages = shuffled_pages(len(LENGTHS), max(LENGTHS) + COUNT, runner.pages_total)
    runs = [
        Run(prompt, pages[index], 3 * index, chunk + index)
        for index, prompt in enumerate(reversed(prompts()))
    ]
    assert drive(runner, runs) == expected[::-1]


def test_what_is_not_a_number_in_one_row_harms_no_other(folder: Path, native_dir: Path) -> None:
    runner = runner_for(folder, native_dir=native_dir)
    pages = shuffled_pages(2, 40, runner.pages_total)
    good, bad = (Run([5, 6, 7, 8, 9], pages[index], 0, 64) for index in range(2))
    (expected,) = drive(runner, [replace(good, reply=[])])
    drive(runner, [bad])
    for pool in runner._cache.pools:
        pool[:, pages[1][0]] = float("nan")
    assert drive(runner, [replace(good, count=4, reply=[])]) == [expected[:4]]
    failed, token = runner.step(
        [Row([11], 10, pages[1], GREEDY, 0, True), Row([expected[3]], 8, pages[0], GREEDY, 0, True)]
    )
    assert isinstance(failed, EngineError)
    assert token == expected[4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_as_close_as_torchs_own(folder: Path, native_dir: Path, dtype: torch.dtype) -> None:
    """Against double the precision: our kernels round less often than torch's operations."""
    name = str(dtype).removeprefix("torch.")
    prompt = prompts()[3]

    def logits(**changes: object) -> torch.Tensor:
        runner = runner_for(folder, **changes)
        found: list[torch.Tensor] = []
        forward = runner._model.forward
        runner._model.forward = lambda *given: found.append(forward(*given)) or found[-1]  # type: ignore[method-assign]
        pages = list(range(20))
        runner.step([Row(prompt[:20], 0, pages, GREEDY, 0, False)])
        for position in range(20, len(prompt)):
            runner.step([Row(prompt[position : position + 1], position, pages, GREEDY, 0, True)])
        return torch.cat(found).double()

    exact = logits(dtype="float32")
    ours = (logits(dtype=name, native_dir=native_dir) - exact).abs().mean()
    torchs = (logits(dtype=name) - exact).abs().mean()
    assert ours <= 1.1 * torchs + 1e-5


def test_without_a_compiler_torch_computes_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_tiny("llama-wide", tmp_path / "model")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(library, "_PACKAGED", "no_such_compiler")
    with caplog.at_level(logging.WARNING):
        loaded = load_model(folder, EngineSettings(dtype="float32", native_dir=tmp_path / "native"))
    assert loaded.kernels is None
    assert "there is no C compiler here; install gcc, or" in caplog.text
