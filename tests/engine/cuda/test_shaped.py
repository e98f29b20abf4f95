"""Changes of logits on the device against `engine.shaping`, to the bit."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.batch import Row
from engine.cuda.processor import ProcessorDevice
from engine.cuda.shaped import BIASES, ENDS, Shaped, on_device
from engine.request import Sampling
from engine.sampler import COLDEST
from engine.shaping import Shaping, shaping_of
from tests.engine.cuda.stand_in import graph_runner_for
from tests.engine.driving import prompts
from tests.engine.tiny_models import GREEDY, VOCAB, runner_for, save_tiny

SIZE = 300
EVERY = [
    Sampling(presence_penalty=0.7),
    Sampling(frequency_penalty=-0.3, temperature=0.0),
    Sampling(repetition_penalty=1.3, top_p=0.9),
    Sampling(repetition_penalty=0.8, frequency_penalty=0.2, presence_penalty=-0.1),
    Sampling(logit_bias=((0, 5.0), (7, -100.0), (9, 0.3))),
    Sampling(min_tokens=5, temperature=0.0),
    Sampling(min_tokens=9, repetition_penalty=1.1, logit_bias=((3, 2.5),), top_k=20),
]


def row_of(shaping: Shaping | None, start: int) -> Row:
    return Row([1], start, [0], GREEDY, 0, True, shaping)


def test_the_logits_are_those_of_the_processor() -> None:
    rng, numbers = random.Random(5), torch.Generator().manual_seed(5)
    shaped = Shaped(ProcessorDevice(), 4, SIZE)
    for _ in range(30):
        samplings = [rng.choice([*EVERY, None]) for _ in range(4)]
        prompts = [[rng.randrange(SIZE) for _ in range(rng.randrange(1, 90))] for _ in range(4)]
        shapings = [
            None if sampling is None else shaping_of(sampling, prompt, {2, 250})
            for sampling, prompt in zip(samplings, prompts, strict=True)
        ]
        for _ in range(rng.randrange(12)):
            for shaping in filter(None, shapings):
                shaping.follow(rng.randrange(SIZE))
        shaped.join([(slot, row_of(shaping, 50)) for slot, shaping in enumerate(shapings)])
        positions = torch.full((4,), 51)
        for _ in range(8):  # without a word from here
            logits = torch.randn(4, SIZE, generator=numbers) * 5
            found = shaped.apply(logits, positions)
            for row, shaping in enumerate(shapings):
                expected = logits[row].clone()
                if shaping is not None:
                    shaping.apply(expected)
                assert torch.equal(found[row], expected), samplings[row]
            tokens = torch.tensor([rng.choice([-1, rng.randrange(SIZE)]) for _ in range(4)])
            shaped.follow(tokens)
            positions += tokens >= 0
            for token, shaping in zip(tokens.tolist(), shapings, strict=True):
                if token >= 0 and shaping is not None:
                    shaping.follow(token)


@pytest.mark.parametrize(
    ("sampling", "ends", "there"),
    [
        (Sampling(logit_bias=tuple((token, 1.0) for token in range(BIASES))), 1, True),
        (Sampling(logit_bias=tuple((token, 1.0) for token in range(BIASES + 1))), 1, False),
        (Sampling(min_tokens=3), ENDS, True),
        (Sampling(min_tokens=3), ENDS + 1, False),
        (Sampling(presence_penalty=1, logprobs=2), 1, False),
        (Sampling(), 1, False),
    ],
)
def test_what_the_device_cannot_do_is_left_to_the_processor(
    sampling: Sampling, ends: int, there: bool
) -> None:
    assert on_device(shaping_of(sampling, [1], set(range(ends)))) is there


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("llama"))


class Talk:
    """A reply with a shaping, stepped by hand."""

    def __init__(self, number: int, prompt: list[int], sampling: Sampling) -> None:
        self.prompt, self.sampling, self.seed = prompt, sampling, number
        self.shaping = shaping_of(sampling, prompt, {prompts()[1][0], 5, 6})
        self.pages = list(range(number * 24, number * 24 + 24))
        self.said: list[int] = []

    def row(self) -> Row:
        tokens = [*self.prompt, *self.said]
        start = 0 if not self.said else len(tokens) - 1
        return Row(tokens[start:], start, self.pages, self.sampling, self.seed, True, self.shaping)

    def take(self, token: object) -> None:
        assert isinstance(token, int)
        self.said.append(token)
        if self.shaping is not None:
            self.shaping.follow(token)


def talked(runner: object, samplings: list[Sampling]) -> list[list[int]]:
    """Replies that begin one after the other and end at different times."""
    talks = [Talk(n, prompts()[n % 4][:20], sampling) for n, sampling in enumerate(samplings)]
    for step in range(30):
        active = [talk for n, talk in enumerate(talks) if 2 * n <= step < 30 - n]
        for talk, token in zip(active, runner.step([talk.row() for talk in active]), strict=True):  # type: ignore[attr-defined]
            talk.take(token)
    return [talk.said for talk in talks]


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_the_texts_are_those_without_graphs(folder: Path, ahead: int) -> None:
    samplings = [*EVERY[:4], GREEDY, *EVERY[4:]]
    expected = talked(runner_for(folder), samplings)
    assert talked(graph_runner_for(folder, ahead), samplings) == expected
    plain = [Sampling(temperature=one.temperature, top_p=one.top_p, top_k=one.top_k) for one in samplings]
    assert talked(graph_runner_for(folder, ahead), plain) != expected


def test_filters_that_leave_too_much_beside_penalties(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.cuda.choice.NEAR", 4)
    samplings = [replace(one, top_p=0.95, temperature=max(one.temperature, COLDEST * 2)) for one in EVERY]
    assert talked(graph_runner_for(folder, 2), samplings) == talked(runner_for(folder), samplings)


def test_a_place_that_a_penalised_reply_leaves_penalises_nobody(folder: Path) -> None:
    runner = graph_runner_for(folder, 1, max_running=2)
    strong = Sampling(temperature=0, presence_penalty=2.0, logit_bias=((VOCAB - 1, 3.0),))
    first, beside = Talk(0, [5], strong), Talk(1, [9], EVERY[0])
    for _ in range(6):
        for talk, token in zip((first, beside), runner.step([first.row(), beside.row()]), strict=True):
            talk.take(token)
    plain, expected = Talk(2, [5], GREEDY), Talk(2, [5], GREEDY)
    alone = runner_for(folder)
    for _ in range(6):
        mine, other = runner.step([plain.row(), beside.row()])
        plain.take(mine)
        beside.take(other)
        expected.take(alone.step([expected.row()])[0])
    assert plain.said == expected.said
