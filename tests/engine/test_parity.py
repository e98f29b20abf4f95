"""The runner against transformers' `generate`: greedy, float32, token for token."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.config import EngineSettings
from engine.decoder import Decoder
from engine.generic import GenericModel
from engine.models import load_model
from engine.request import Sampling
from engine.runner import TorchRunner
from tests.engine.tiny_models import (
    GENERIC,
    GREEDY,
    LEAN,
    PAGE,
    VOCAB,
    generated,
    rows_of,
    runner_for,
    save_tiny,
)

COUNT = 24
LENGTHS = (1, 3, 17, 40)


@dataclass
class Run:
    """One sequence driven by a test."""

    prompt: list[int]
    pages: list[int]
    joins: int
    chunk: int
    count: int = COUNT
    sampling: Sampling = GREEDY
    seed: int = 0
    done: int = 0
    reply: list[int] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return len(self.reply) == self.count


def drive(runner: TorchRunner, runs: list[Run]) -> list[list[int]]:
    """Step all runs to their ends, each joining at its own step."""
    step = 0
    while not all(run.over for run in runs):
        active = [run for run in runs if not run.over and run.joins <= step]
        rows = [
            rows_of(run.prompt, run.reply, run.pages, run.chunk, run.done, run.sampling, run.seed)
            for run in active
        ]
        for run, row, result in zip(active, rows, runner.step(rows), strict=True):
            assert not isinstance(result, Exception)
            assert (result is not None) == row.sample
            run.done += len(row.tokens)
            if result is not None:
                run.reply.append(result)
        step += 1
    return [run.reply for run in runs]


def prompts() -> list[list[int]]:
    rng = random.Random(7)
    return [[rng.randrange(3, VOCAB) for _ in range(length)] for length in LENGTHS]


def shuffled_pages(runs: int, tokens: int, total: int) -> list[list[int]]:
    each = -(-tokens // PAGE)
    pages = random.Random(3).sample(range(total), runs * each)
    return [pages[run * each : (run + 1) * each] for run in range(runs)]


@pytest.fixture(scope="module", params=[*LEAN, *GENERIC])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[list[int]]:
    return [generated(folder, prompt, COUNT) for prompt in prompts()]


def test_the_replies_compared_are_not_all_alike(expected: list[list[int]]) -> None:
    assert len({token for reply in expected for token in reply}) > 10


def test_alone_with_pages_in_order(folder: Path, expected: list[list[int]]) -> None:
    runner = runner_for(folder)
    for prompt, reply in zip(prompts(), expected, strict=True):
        assert drive(runner, [Run(prompt, list(range(20)), 0, 64)]) == [reply]


@pytest.mark.parametrize("chunk", [1, 5, 16])
def test_in_a_mixed_batch_with_staggered_arrivals(
    folder: Path, expected: list[list[int]], chunk: int
) -> None:
    runner = runner_for(folder)
    pages = shuffled_pages(len(LENGTHS), max(LENGTHS) + COUNT, runner.pages_total)
    runs = [
        Run(prompt, pages[index], 3 * index, chunk + index)
        for index, prompt in enumerate(reversed(prompts()))
    ]
    assert drive(runner, runs) == expected[::-1]


@pytest.mark.parametrize("name", LEAN)
def test_our_decoder_serves_its_families(name: str, tmp_path: Path) -> None:
    assert isinstance(load_model(save_tiny(name, tmp_path), EngineSettings(dtype="float32")).model, Decoder)


@pytest.mark.parametrize("name", GENERIC)
def test_transformers_modules_serve_the_rest(name: str, tmp_path: Path) -> None:
    assert isinstance(
        load_model(save_tiny(name, tmp_path), EngineSettings(dtype="float32")).model, GenericModel
    )
