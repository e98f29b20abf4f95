"""The runner against transformers' `generate`: greedy, float32, token for token."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import EngineSettings
from engine.decoder import Decoder
from engine.generic import GenericModel
from engine.models import load_model
from tests.engine.driving import COUNT, Run, drive, prompts, staggered
from tests.engine.tiny_models import GENERIC, LEAN, generated, runner_for, save_tiny


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
    assert drive(runner, staggered(runner.pages_total, chunk)) == expected[::-1]


@pytest.mark.parametrize("name", LEAN)
def test_our_decoder_serves_its_families(name: str, tmp_path: Path) -> None:
    assert isinstance(load_model(save_tiny(name, tmp_path), EngineSettings(dtype="float32")).model, Decoder)


@pytest.mark.parametrize("name", GENERIC)
def test_transformers_modules_serve_the_rest(name: str, tmp_path: Path) -> None:
    assert isinstance(
        load_model(save_tiny(name, tmp_path), EngineSettings(dtype="float32")).model, GenericModel
    )
