from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import engine.groups
import engine.runner
from engine.batch import Row
from engine.config import EngineSettings, ModelError
from engine.models import LoadedModel, load_model
from engine.request import EngineError, Sampling
from engine.runner import suggested_kv_bytes
from tests.engine.driving import Run, drive, prompts, sampled_runs, shuffled_pages
from tests.engine.tiny_models import GREEDY, PAGE, VOCAB, generated, runner_for, save_tiny

KINDS = ("llama", "gemma3_text", "gpt_neox")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: save_tiny(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture
def folder(folders: dict[str, Path]) -> Path:
    return folders["llama"]


@pytest.fixture
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_text_in_any_batch(kind: str, folders: dict[str, Path]) -> None:
    together = drive(runner_for(folders[kind]), sampled_runs())
    alone = [drive(runner_for(folders[kind]), [replace(run, joins=0, chunk=64)])[0] for run in sampled_runs()]
    assert together == alone
    assert len(set(together[0])) > 5


def test_another_seed_gives_another_text(folder: Path) -> None:
    runs = [
        Run([5, 6, 7], pages, 0, 8, 30, Sampling(temperature=1.5), seed=seed)
        for seed, pages in enumerate(shuffled_pages(2, 40, 100))
    ]
    first, second = drive(runner_for(folder), runs)
    assert first != second


def test_contexts_of_very_different_length_decode_together(folder: Path) -> None:
    rng = random.Random(5)
    asked = [[rng.randrange(3, VOCAB) for _ in range(length)] for length in (2, 90, 3, 9, 95)]
    expected = [generated(folder, prompt, 16) for prompt in asked]
    pages = shuffled_pages(5, 120, 400)
    runs = [Run(prompt, pages[index], 0, 64, 16) for index, prompt in enumerate(asked)]
    assert drive(runner_for(folder), runs) == expected


def test_decode_rows_that_overflow_the_scratch_space_attend_in_turn(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = drive(runner_for(folder), sampled_runs())
    monkeypatch.setattr(engine.groups, "SCRATCH_BYTES", 4000)
    assert drive(runner_for(folder), sampled_runs()) == expected


def test_a_copied_page_continues_the_sequence(folder: Path) -> None:
    prompt = prompts()[2]
    runner = runner_for(folder)
    (reply,) = drive(runner, [Run(prompt, list(range(20)), 0, 64)])
    for page in range(5):
        runner.copy_page(page, 40 + page)
    moved = Run(prompt, [*range(40, 45), *range(60, 75)], 0, 64, done=len(prompt) - 1)
    assert drive(runner, [moved]) == [reply]


@pytest.mark.parametrize("bad", [-1, VOCAB])
def test_a_token_outside_the_vocabulary_fails_its_own_row(folder: Path, bad: int) -> None:
    runner = runner_for(folder)
    good = Row([5, 6], 0, [0], GREEDY, 0, True)
    alone = runner.step([good])
    results = runner.step([Row([5, bad], 0, [1], GREEDY, 0, True), good])
    assert isinstance(results[0], EngineError)
    assert results[1:] == alone
    assert isinstance(runner.step([Row([bad], 0, [1], GREEDY, 0, True)])[0], EngineError)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_a_number_in_one_row_harms_no_other(kind: str, folders: dict[str, Path]) -> None:
    runner = runner_for(folders[kind])
    pages = shuffled_pages(2, 40, runner.pages_total)
    runs = [Run([5, 6, 7, 8, 9], pages[index], 0, 64, seed=index) for index in range(2)]
    expected = drive(runner_for(folders[kind]), [replace(runs[1], reply=[])])
    drive(runner, [runs[0]])
    for pool in runner._cache.pools:
        pool[:, pages[0]] = float("nan")
    poisoned = Row([11], 10, pages[0], GREEDY, 0, True)
    follower = replace(runs[1], reply=[])
    while not follower.over:
        row = Row(
            (follower.prompt + follower.reply)[follower.done :], follower.done, pages[1], GREEDY, 1, True
        )
        failed, token = runner.step([poisoned, row])
        assert isinstance(failed, EngineError)
        assert isinstance(token, int)
        follower.done += len(row.tokens)
        follower.reply.append(token)
    assert [follower.reply] == expected
    # The pages' next owner finds nothing of it.
    assert drive(runner, [replace(runs[1], pages=pages[0], done=0, reply=[])]) == expected


def test_prefill_without_a_sample_computes_no_logits(folder: Path) -> None:
    assert runner_for(folder).step([Row([5, 6, 7], 0, [0], GREEDY, 0, False)]) == [None]


def test_memory_is_planned_from_the_settings(folder: Path) -> None:
    page = 3 * 2 * 2 * 8 * 4 * PAGE  # layers, keys and values, heads, head size, bytes, tokens
    assert runner_for(folder, kv_bytes=10 * page + 7).pages_total == 10
    assert runner_for(folder, kv_bytes=10 * page).context_tokens == 40
    assert runner_for(folder, kv_bytes=1 << 30, max_running=3).pages_total == 3 * 128 // PAGE
    with pytest.raises(ModelError, match="holds 1 pages of 4 tokens"):
        runner_for(folder, kv_bytes=page)


def test_memory_suggested_for_a_device(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model(folder, EngineSettings())
    monkeypatch.setattr(engine.runner.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1 << 22}.get)
    assert suggested_kv_bytes(loaded, 10) == 1 << 30
    assert suggested_kv_bytes(loaded, 1 << 24) == 128 << 24
    assert suggested_kv_bytes(loaded, 1 << 40) == 4 << 30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    on_gpu: LoadedModel = replace(loaded, device=torch.device("cuda"))
    assert suggested_kv_bytes(on_gpu, 10) == 800


def test_threads_are_torchs_unless_set(folder: Path, threads: int) -> None:
    runner_for(folder)
    assert torch.get_num_threads() == threads
    runner_for(folder, threads=1)
    assert torch.get_num_threads() == 1


def test_it_says_what_it_holds(folder: Path) -> None:
    runner = runner_for(folder, kv_bytes=1 << 20)
    assert repr(runner).startswith("<TorchRunner pages=")
    assert runner.page_tokens == PAGE
    runner.close()
