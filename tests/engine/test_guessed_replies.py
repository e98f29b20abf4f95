"""Guessing changes when tokens come, and nothing about what comes."""

from __future__ import annotations

import random
from collections.abc import Sequence as Items
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.batch import Row
from engine.request import Finished, FinishReason, Output, Sampling
from engine.sequence import Sequence
from engine.speculation import Speculation
from tests.engine.driving import prompts
from tests.engine.guessing import Guessing
from tests.engine.paged_runner import expected
from tests.engine.test_scheduler import ENDLESS, Bench
from tests.engine.tiny_models import GENERIC, GREEDY, LEAN, WIDE, runner_for, save_tiny

KNOWING = 1.0  # of the guesses are right


def guessing(right: float = 0.8, seed: int = 1, **shape: int) -> Bench:
    bench = Bench(**shape)
    bench.scheduler.speculation = Guessing(random.Random(seed), right)
    return bench


def texts(outputs: list[Output]) -> str:
    return "".join(output for output in outputs if isinstance(output, str))


def plainly(prompt: int, sampling: Sampling) -> tuple[str, Finished]:
    bench = Bench()
    bench.submit("a", prompt, sampling)
    bench.run()
    return texts(bench.heard["a"]), bench.end("a")


def guessed(prompt: int, sampling: Sampling, seed: int = 1) -> tuple[str, Finished]:
    bench = guessing(seed=seed)
    bench.submit("a", prompt, sampling)
    bench.run()
    assert bench.pool.used == 0
    return texts(bench.heard["a"]), bench.end("a")


@pytest.mark.parametrize("count", [1, 2, 5, 16, 40])
def test_max_tokens_are_exact(count: int) -> None:
    for seed in range(5):
        said, finished = guessed(4, replace(ENDLESS, max_tokens=count), seed)
        assert finished.usage.output == count
        assert (said, finished) == plainly(4, replace(ENDLESS, max_tokens=count))


def test_a_context_that_is_full_ends_the_reply() -> None:
    _, finished = guessed(4, ENDLESS)
    assert finished.reason is FinishReason.LENGTH
    assert finished.usage.output == 60


@pytest.mark.parametrize("place", range(1, 12))
def test_a_stop_string_ends_it_in_the_midst_of_what_was_guessed(place: int) -> None:
    text, _ = plainly(4, replace(ENDLESS, max_tokens=20))
    sampling = replace(ENDLESS, max_tokens=20, stop=(text[place : place + 2],))
    for seed in range(3):
        said, finished = guessed(4, sampling, seed)
        assert (said, finished) == plainly(4, sampling)
    assert finished.reason is FinishReason.STOP


def test_an_end_of_turn_ends_it_unless_it_is_ignored() -> None:
    greedy = Sampling(temperature=0)
    prompt = next(n for n in range(1, 40) if 0 in plainly(n, greedy)[1].token_ids)
    for seed in range(3):
        said, finished = guessed(prompt, greedy, seed)
        assert finished.token_ids[-1] == 0
        assert (said, finished) == plainly(prompt, greedy)


def test_the_same_seed_says_the_same() -> None:
    sampling = replace(ENDLESS, temperature=1.0, seed=5, max_tokens=30)
    said, finished = guessed(4, sampling)
    assert (said, finished) == plainly(4, sampling)
    assert finished.token_ids != guessed(4, replace(sampling, seed=6))[1].token_ids


def test_every_token_is_counted_and_every_guess() -> None:
    bench = guessing(KNOWING)
    bench.submit("a", 4, replace(ENDLESS, max_tokens=30))
    bench.run()
    stats = bench.scheduler.stats()
    assert stats.generated_tokens == 30
    assert stats.accepted_tokens == stats.guessed_tokens
    assert stats.generated_tokens == stats.accepted_tokens + stats.steps
    assert 0 < stats.guessed_rows < stats.steps < 30


def test_tokens_of_one_step_are_delivered_one_by_one_in_order() -> None:
    bench = guessing(KNOWING)
    bench.submit("a", 4, replace(ENDLESS, max_tokens=30))
    most = 0
    while bench.scheduler.live:
        before = len(bench.heard["a"])
        bench.step()
        most = max(most, len(bench.heard["a"]) - before)
    assert most > 2
    assert bench.ids("a") == expected(bench.sequences["a"].prompt, 30)
    shown = [31 + token for token in bench.ids("a") if token]
    assert texts(bench.heard["a"]) == bytes(shown).decode()


def test_a_row_that_fails_behind_its_first_tokens_keeps_them() -> None:
    bench = guessing(KNOWING)
    bench.submit("a", 4, replace(ENDLESS, max_tokens=30))
    bench.step(4)
    count = len(bench.ids("a"))
    bench.runner.row_fault = lambda row: ValueError("no")
    bench.step()
    assert bench.end("a").reason is FinishReason.FAILED
    assert len(bench.end("a").token_ids) == count


def test_nobody_gives_up_pages_for_guesses() -> None:
    bench = guessing(KNOWING, pages=10, context=20)
    for id in "abc":
        bench.submit(id, 8, replace(ENDLESS, max_tokens=4))
    bench.run()
    assert bench.scheduler.stats().prompt_tokens == 24
    assert all(sequence.charged <= 12 for sequence in bench.sequences.values())
    for id in "abc":
        assert bench.ids(id) == expected(bench.sequences[id].prompt, 4)


def test_a_reply_that_was_preempted_goes_on_as_it_would() -> None:
    bench = guessing(pages=8, context=24)
    for id in "abc":
        bench.submit(id, 6, replace(ENDLESS, max_tokens=14))
    bench.run()
    assert bench.scheduler.stats().steps > 0
    for id in "abc":
        assert bench.ids(id) == expected(bench.sequences[id].prompt, 14)
    assert bench.pool.used == 0


def test_a_follow_up_meets_only_what_was_said() -> None:
    bench = guessing(0.5)
    first = bench.submit("a", 5, replace(ENDLESS, max_tokens=13))
    bench.run()
    said = bench.ids("a")
    bench.scheduler.commit_reply("a", said, bench.now)
    more = [*first.prompt, *said, 1, 2]
    bench.submit("b", more, replace(ENDLESS, max_tokens=9))
    bench.run()
    assert bench.end("b").usage.cached == 17
    assert bench.ids("b") == expected(more, 9)


@pytest.mark.parametrize("name", [*LEAN, *GENERIC])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_model_says_the_same_in_mixed_batches(name: str, temperature: float, tmp_path: Path) -> None:
    same_in_mixed_batches(save_tiny(name, tmp_path), temperature)


@pytest.mark.native
@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_model_of_our_kernels_says_the_same(
    name: str, threads: int, tmp_path: Path, native_dir: Path
) -> None:
    before = torch.get_num_threads()
    same_in_mixed_batches(save_tiny(name, tmp_path), 0.7, native_dir=native_dir, threads=threads)
    torch.set_num_threads(before)


@pytest.mark.native
def test_with_weights_in_blocks_a_guess_changes_no_bit_of_the_logits(
    tmp_path: Path, native_dir: Path
) -> None:
    folder = save_tiny("llama-wide", tmp_path, hidden_size=96, intermediate_size=96)
    prompt, said = prompts()[2], [5, 6, 7, 8, 9, 10, 11]

    def logits(rows: list[Row]) -> torch.Tensor:
        runner = runner_for(folder, dtype="int4", native_dir=native_dir)
        found: list[torch.Tensor] = []
        forward = runner._model.forward
        runner._model.forward = lambda *given: found.append(forward(*given)) or found[-1]  # type: ignore[method-assign]
        runner.step([Row(prompt, 0, range(20), GREEDY, 0, False)])
        for row in rows:
            runner.step([row])
        return torch.cat(found)

    start = len(prompt)
    one_by_one = logits(
        [Row([token], place, range(20), GREEDY, 0, True) for place, token in enumerate(said, start)]
    )
    at_once = logits([Row(said, start, range(20), GREEDY, 0, True, guesses=len(said) - 1)])
    assert torch.equal(one_by_one, at_once)


def same_in_mixed_batches(folder: Path, temperature: float, **changes: object) -> None:
    def said(speculation: Speculation) -> tuple[list[list[int]], Bench]:
        bench = Bench(pages=128, context=100)
        bench.runner = runner_for(folder, **changes)  # type: ignore[assignment]
        bench.scheduler.speculation = speculation
        for place, prompt in enumerate(prompts()):
            sampling = replace(ENDLESS, temperature=temperature, seed=place, max_tokens=40, top_k=4)
            bench.submit("abcd"[place], [*prompt, *prompt[:9]], sampling)
            bench.step(3)
        bench.run()
        return [bench.ids(id) for id in "abcd"], bench

    plain, _ = said(Speculation(0))

    def knowing(sequence: Sequence, ids: Items[int], count: int) -> list[int]:
        coming = plain["abcd".index(sequence.request.id)][len(ids) - len(sequence.prompt) :]
        return coming[:count]

    with_guesses, bench = said(Guessing(random.Random(2), 0.8, knowing))
    assert with_guesses == plain
    assert bench.scheduler.stats().guessed_tokens > bench.scheduler.stats().accepted_tokens > 40
