"""Keys and values in fp8, on the stand-in for a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.config import EngineSettings, ModelError
from engine.cuda.triton_kernels import TritonKernels
from engine.form import Form, form_of
from engine.moves import Moves
from engine.needs import kv_words, look_at
from engine.paged_cache import FP8
from tests.engine.cuda.stand_in import graph_runner_for
from tests.engine.cuda.torch_kernels import TorchKernels
from tests.engine.driving import Run, drive, prompts, staggered
from tests.engine.tiny_models import generated, save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("llama"))


def test_a_reply_is_the_same_however_its_prompt_is_cut(folder: Path) -> None:
    alone = graph_runner_for(folder, kv_dtype="fp8")
    expected = [drive(alone, [replace(run, joins=0, chunk=99)])[0] for run in staggered(alone.pages_total, 5)]
    batch = graph_runner_for(folder, kv_dtype="fp8")
    assert drive(batch, staggered(batch.pages_total, 5)) == expected


def test_on_tritons_kernels(tmp_path: Path) -> None:
    folder = save_tiny("qwen3", tmp_path, num_hidden_layers=1)
    replies = []
    for kernels in (TorchKernels(), TritonKernels(2, 128)):
        runner = graph_runner_for(folder, 0, kernels, kv_dtype="fp8", max_running=2)
        runs = [Run(prompts()[n], [2 * n + m for m in (0, 1, 9)], n, 4, 4) for n in (0, 1)]
        replies.append(drive(runner, runs))
    assert replies[0] == replies[1]


def test_it_is_not_far_from_what_the_model_says_with_more_bits(folder: Path) -> None:
    runner = graph_runner_for(folder, kv_dtype="fp8")
    replies = drive(runner, staggered(runner.pages_total, 5))
    exact = [generated(folder, prompt, len(replies[0])) for prompt in reversed(prompts())]
    first = [reply[:1] == wanted[:1] for reply, wanted in zip(replies, exact, strict=True)]
    assert sum(first) >= 3
    assert {pool.dtype for pool in runner._cache.pools} == {FP8}


def test_a_copied_page_continues_the_sequence(folder: Path) -> None:
    prompt = prompts()[2]
    runner = graph_runner_for(folder, kv_dtype="fp8")
    (reply,) = drive(runner, [Run(prompt, list(range(20)), 0, 64)])
    for page in range(5):
        runner.copy_page(page, 40 + page)
    moved = Run(prompt, [*range(40, 45), *range(60, 75)], 0, 64, done=len(prompt) - 1)
    assert drive(runner, [moved]) == [reply]


def test_pages_come_back_from_the_hosts_memory_with_their_scales(folder: Path) -> None:
    prompt = prompts()[2]
    runner = graph_runner_for(folder, kv_dtype="fp8", host_kv_bytes=1 << 20)
    (reply,) = drive(runner, [Run(prompt, list(range(20)), 0, 64)])
    assert runner.mover is not None
    runner.mover.send(Moves(out=[(page, page) for page in range(5)], back=[(n, 40 + n) for n in range(5)]))
    moved = Run(prompt, [*range(40, 45), *range(60, 75)], 0, 64, done=len(prompt) - 1)
    assert drive(runner, [moved]) == [reply]


def test_the_same_memory_holds_more_of_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = 40 * 4 * 3 * 2 * 2 * 8 * 4  # pages, tokens, layers, keys and values, heads, head size, bytes
    assert graph_runner_for(folder, kv_bytes=memory).pages_total == 40
    assert graph_runner_for(folder, kv_bytes=memory, kv_dtype="fp8").pages_total == 40 * 32 // (8 + 4)
    form = Form(torch.device("cuda"), torch.bfloat16, 1, kv="fp8")
    monkeypatch.setattr("engine.needs.form_of", lambda settings, holds_blocks: form)
    assert look_at(folder, EngineSettings(), "tiny").needs.token == 3 * 2 * 2 * (8 + 4)
    assert kv_words(form).startswith("fp8")


def test_a_processor_refuses_them() -> None:
    with pytest.raises(ModelError, match="kv_dtype fp8 is computed on a GPU only; choose auto"):
        form_of(EngineSettings(kv_dtype="fp8"), holds_blocks=False)
    with pytest.raises(ValueError, match="kv_dtype must be one of auto, fp8, not 'int4'"):
        EngineSettings(kv_dtype="int4")
