"""Sequences driven through a runner by hand. Imports no test tool, so that a bare GPU machine runs it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from engine.batch import Runner
from engine.request import Sampling
from tests.engine.tiny_models import GREEDY, PAGE, VOCAB, rows_of

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


def drive(runner: Runner, runs: list[Run]) -> list[list[int]]:
    """Step all runs to their ends, each joining at its own step."""
    step = 0
    while not all(run.over for run in runs):
        active = [run for run in runs if not run.over and run.joins <= step]
        rows = [
            rows_of(run.prompt, run.reply, run.pages, run.chunk, run.done, run.sampling, run.seed)
            for run in active
        ]
        for run, row, result in zip(active, rows, runner.step(rows), strict=True):
            assert not isinstance(result, Exception), result
            assert (result is not None) == row.sample
            run.done += len(row.tokens)
            if isinstance(result, int):
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


def staggered(total: int, chunk: int, count: int = COUNT) -> list[Run]:
    """The prompts, the longest first, each joining later and in larger chunks, on scattered pages of `total`."""
    pages = shuffled_pages(len(LENGTHS), max(LENGTHS) + COUNT, total)
    return [
        Run(prompt, pages[index], 3 * index, chunk + index, count)
        for index, prompt in enumerate(reversed(prompts()))
    ]


def sampled_runs(total: int = 200) -> list[Run]:
    """One of each way to choose, on scattered pages of `total`."""
    pages = shuffled_pages(4, 80, total)
    every = [
        Sampling(temperature=1.3),
        Sampling(temperature=0.8, top_p=0.9),
        Sampling(temperature=1.0, top_k=40, min_p=0.02),
        GREEDY,
    ]
    return [
        Run(prompt, pages[index], index, 7, 30, sampling, seed=100 + index)
        for index, (prompt, sampling) in enumerate(zip(prompts(), every, strict=True))
    ]
