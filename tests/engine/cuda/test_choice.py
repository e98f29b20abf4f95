"""Choosing on the device against `engine.sampler`, token for token."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.cuda.choice import BROKEN, UNDECIDED, Kind, Wishes, choose, kind_of, wish_of, words_of
from engine.request import Sampling
from engine.sampler import NEAR, Choice, gumbel, noise, sample

VOCAB = 2000


def wishes_of(choices: list[Choice]) -> Wishes:
    columns = zip(*(wish_of(choice.sampling, choice.seed) for choice in choices), strict=True)
    key, temperature, most, limit, least = (torch.tensor(column) for column in columns)
    return Wishes(torch.stack((key, most)), torch.stack((temperature, limit, least)))


def chosen(logits: torch.Tensor, choices: list[Choice]) -> list[int]:
    kind = max(kind_of(choice.sampling) for choice in choices)
    positions = torch.tensor([choice.position for choice in choices])
    tokens: list[int] = choose(logits.clone(), wishes_of(choices), positions, kind).tolist()
    return tokens


def random_choices(rng: random.Random, rows: int) -> list[Choice]:
    kinds = [
        Sampling(temperature=0),
        Sampling(temperature=1e-6),
        Sampling(),
        Sampling(temperature=1.7, min_p=0.05),
        Sampling(top_k=40),
        Sampling(top_k=NEAR, top_p=0.9),
        Sampling(top_p=0.8, temperature=0.7, min_p=0.01),
        Sampling(top_p=0.99, temperature=3.0),
        Sampling(top_k=700, temperature=3.0),
    ]
    return [Choice(rng.choice(kinds), rng.getrandbits(63), rng.randrange(100_000)) for _ in range(rows)]


@pytest.mark.parametrize("vocab", [300, VOCAB])
def test_the_tokens_are_those_of_the_sampler(vocab: int) -> None:
    undecided = decided = 0
    for seed in range(60):
        rng = random.Random(seed)
        choices = random_choices(rng, rng.randint(1, 9))
        logits = torch.randn(len(choices), vocab, generator=torch.Generator().manual_seed(seed)) * 3
        for token, expected in zip(chosen(logits, choices), sample(logits, choices), strict=True):
            if token == UNDECIDED:
                undecided += 1
            else:
                decided += 1
                assert token == expected
    assert decided > 150
    assert bool(undecided) == (vocab > NEAR)


def test_only_rows_whose_filters_leave_more_than_the_candidates_stay_undecided() -> None:
    logits = torch.zeros(4, VOCAB)
    every = [Sampling(top_p=0.9), Sampling(top_k=NEAR + 1), Sampling(top_k=5), Sampling()]
    tokens = chosen(logits, [Choice(sampling, 1, 1) for sampling in every])
    assert [token == UNDECIDED for token in tokens] == [True, True, False, False]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(), Sampling(top_k=5)])
def test_a_broken_row_is_told_and_harms_no_other(bad: float, sampling: Sampling) -> None:
    logits = torch.randn(3, VOCAB, generator=torch.Generator().manual_seed(0))
    choices = [Choice(sampling, 1, row) for row in range(3)]
    whole = chosen(logits, choices)
    logits[1, 7] = bad
    assert chosen(logits, choices) == [whole[0], BROKEN, whole[2]]


@given(st.lists(st.tuples(st.integers(0, (1 << 63) - 1), st.integers(0, 1 << 20)), min_size=1, max_size=4))
def test_the_noise_is_the_samplers(keys: list[tuple[int, int]]) -> None:
    tokens = torch.arange(5, dtype=torch.int32).expand(len(keys), 5)
    seeds = torch.tensor([wish_of(Sampling(), seed)[0] for seed, _ in keys])
    words = words_of(seeds, torch.tensor([position for _, position in keys]))
    assert torch.equal(noise(words, tokens), gumbel(keys, tokens))


def test_a_batch_needs_what_its_rows_need() -> None:
    assert kind_of(Sampling(temperature=0, top_k=3)) is Kind.GREEDY
    assert kind_of(Sampling(min_p=0.1)) is Kind.FREE
    assert kind_of(Sampling(top_p=0.9)) is kind_of(Sampling(top_k=1)) is Kind.FILTERED
