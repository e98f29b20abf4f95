"""Whole steps in C against the same steps taken part by part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.batch import Row
from engine.decoder import Decoder
from engine.linear import BlocksLinear, DenseLinear
from engine.runner import TorchRunner
from engine.whole import WholeStep
from tests.engine.test_dense import DTYPES
from tests.engine.tiny_models import GREEDY, runner_for, save_tiny

pytestmark = pytest.mark.native

CONTEXTS = (1, 4, 30, 9, 17, 3)
MAYBE = ["bfloat16"] if torch.bfloat16 in DTYPES else []


def runner_of(
    folder: Path, native_dir: Path | None, *, whole: bool = True, **settings: Any
) -> tuple[TorchRunner, list[Tensor]]:
    """And the logits of the steps that it will take."""
    runner = runner_for(folder, native_dir=native_dir, **settings)
    model = runner._model
    assert isinstance(model, Decoder)
    if not whole:
        model._whole = None
    logits: list[Tensor] = []
    forward = model.forward
    model.forward = lambda *given: logits.append(forward(*given)) or logits[-1]  # type: ignore[method-assign]
    return runner, logits


def decoded(runner: TorchRunner, rows: int) -> None:
    """Prompts, then some steps of as many rows, of which the second one wants no token."""
    pages = [list(range(row * 10, row * 10 + 10)) for row in range(rows)]
    for own, context in zip(pages, CONTEXTS, strict=False):
        runner.step([Row([(7 * place) % 150 for place in range(context)], 0, own, GREEDY, 0, True)])
    for step in range(5):
        runner.step(
            [
                Row([20 + step + row], context + step, own, GREEDY, 0, row != 1)
                for row, (own, context) in enumerate(zip(pages, CONTEXTS, strict=False))
            ]
        )


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["int4", "int8", "float32", *MAYBE])
@pytest.mark.parametrize("name", ["llama-biased", "mistral", "qwen2", "qwen3", "gemma3_text"])
def test_every_family_is_as_part_by_part(
    name: str, dtype: str, threads: int, tmp_path: Path, native_dir: Path
) -> None:
    folder = save_tiny(name, tmp_path, hidden_size=96, intermediate_size=160, head_dim=32)
    before = torch.get_num_threads()
    ours, found = runner_of(folder, native_dir, dtype=dtype, threads=threads)
    parts, expected = runner_of(folder, native_dir, whole=False, dtype=dtype, threads=1)
    torch.set_num_threads(before)
    assert isinstance(ours._model, Decoder)
    assert isinstance(ours._model._whole, WholeStep)
    for rows in (1, len(CONTEXTS)):
        decoded(ours, rows)
        decoded(parts, rows)
    assert [len(logits) for logits in found] == [1] * 6 + [1] * len(CONTEXTS) + [len(CONTEXTS) - 1] * 5
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0.05 if name in ("qwen3", "gemma3_text") else 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "float16"},  # for which there is no product of our own
        {"dtype": "float32", "hidden_size": 42},  # vectors that no kernel norms
        {"dtype": "int4", "head_dim": 16},  # heads that no kernel attends to
    ],
)
def test_what_c_cannot_compute_alone_is_computed_part_by_part(
    changes: dict[str, Any], tmp_path: Path, native_dir: Path
) -> None:
    sizes: dict[str, Any] = {"hidden_size": 96, "intermediate_size": 160, "head_dim": 32} | changes
    dtype = sizes.pop("dtype")
    runner, logits = runner_of(save_tiny("llama-biased", tmp_path, **sizes), native_dir, dtype=dtype)
    assert isinstance(runner._model, Decoder)
    assert runner._model._whole is None
    decoded(runner, 3)
    assert all(bool(part.isfinite().all()) for part in logits)


def test_some_weights_in_blocks_and_some_in_none(tmp_path: Path, native_dir: Path) -> None:
    folder = save_tiny("llama-biased", tmp_path, hidden_size=48, intermediate_size=160, head_dim=32)
    ours, found = runner_of(folder, native_dir, dtype="int8")
    parts, expected = runner_of(folder, native_dir, whole=False, dtype="int8")
    assert isinstance(ours._model, Decoder)
    assert [type(getattr(ours._model.layers[0], name)) for name in ("qkv", "down")] == [
        DenseLinear,
        BlocksLinear,
    ]
    for runner in (ours, parts):
        decoded(runner, len(CONTEXTS))
    assert isinstance(ours._model._whole, WholeStep)
    assert all(map(torch.equal, found, expected))


def test_a_runner_that_is_closed_ends_its_helpers(tmp_path: Path, native_dir: Path) -> None:
    folder = save_tiny("llama", tmp_path, hidden_size=96, intermediate_size=1600, head_dim=32)
    runner, _ = runner_of(folder, native_dir, dtype="int4", threads=3)
    before = set(Path("/proc/self/task").iterdir())
    decoded(runner, 6)
    assert len(set(Path("/proc/self/task").iterdir()) - before) == 2
    runner.close()
    assert set(Path("/proc/self/task").iterdir()) == before


def test_a_step_that_wants_no_token(tmp_path: Path, native_dir: Path) -> None:
    folder = save_tiny("llama", tmp_path, hidden_size=96, intermediate_size=160, head_dim=32)
    runner, logits = runner_of(folder, native_dir, dtype="int4")
    assert runner.step([Row([5], 0, [0], GREEDY, 0, False), Row([6], 0, [1], GREEDY, 0, False)]) == [
        None,
        None,
    ]
    assert logits[0].shape == (0, 160)
