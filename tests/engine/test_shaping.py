"""What a request changes in its logits, against transformers' processors and OpenAI's formula."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    MinNewTokensLengthLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
)

from engine.request import Sampling
from engine.sampler import Choice, sample
from engine.shaping import Shaping, shaping_of

VOCAB = 300
ENDS = frozenset({2, 7})
ids = st.integers(0, VOCAB - 1)

shaped = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.8]),
    top_p=st.sampled_from([0.9, 1.0]),
    presence_penalty=st.sampled_from([0.0, 0.6, -2.0]),
    frequency_penalty=st.sampled_from([0.0, 0.3, 2.0]),
    repetition_penalty=st.sampled_from([1.0, 0.5, 1.3]),
    logit_bias=st.dictionaries(ids, st.floats(-100, 100, width=32), max_size=5).map(
        lambda bias: tuple(sorted(bias.items()))
    ),
    min_tokens=st.integers(0, 60),
)


def logits_of(seed: int) -> torch.Tensor:
    return torch.randn(VOCAB, generator=torch.Generator().manual_seed(seed)) * 3


def reference(logits: torch.Tensor, sampling: Sampling, prompt: list[int], output: list[int]) -> torch.Tensor:
    """transformers' processors in its order, and OpenAI's penalties: c * frequency + (c > 0) * presence."""
    so_far = torch.tensor([prompt + output])
    scores = logits[None].clone()
    if sampling.logit_bias:
        bias = {(token,): value for token, value in sampling.logit_bias}
        scores = SequenceBiasLogitsProcessor(bias)(so_far, scores)
    if sampling.repetition_penalty != 1:
        scores = RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)(so_far, scores)
    for token, count in Counter(output).items():
        scores[0, token] -= count * sampling.frequency_penalty + sampling.presence_penalty
    if sampling.min_tokens:
        ends = MinNewTokensLengthLogitsProcessor(len(prompt), sampling.min_tokens, sorted(ENDS))
        scores = ends(so_far, scores)
    return scores[0]


def following(sampling: Sampling, prompt: list[int], output: list[int]) -> Shaping | None:
    shaping = shaping_of(sampling, prompt, ENDS)
    if shaping is not None:
        for token in output:
            shaping.follow(token)
    return shaping


@settings(max_examples=300, deadline=None)
@given(shaped, st.lists(ids, min_size=1, max_size=200), st.lists(ids, max_size=80), st.integers(0, 9))
def test_logits_are_changed_as_the_references_change_them(
    sampling: Sampling, prompt: list[int], output: list[int], seed: int
) -> None:
    logits = logits_of(seed)
    expected = reference(logits, sampling, prompt, output)
    shaping = following(sampling, prompt, output)
    if shaping is not None:
        shaping.apply(logits)
    torch.testing.assert_close(logits, expected)


@settings(max_examples=60, deadline=None)
@given(shaped, st.lists(ids, min_size=1, max_size=50), st.lists(ids, min_size=1, max_size=300))
def test_a_shaping_that_was_applied_at_every_token_says_the_same_as_a_fresh_one(
    sampling: Sampling, prompt: list[int], output: list[int]
) -> None:
    at_every, at_the_end = logits_of(1), logits_of(1)
    shaping = shaping_of(sampling, prompt, ENDS)
    fresh = following(sampling, prompt, output)
    if shaping is None or fresh is None:
        return
    for token in output:
        shaping.apply(logits_of(2))
        shaping.follow(token)
    shaping.apply(logits_of(3))  # a step that failed and is computed again
    shaping.apply(at_every)
    fresh.apply(at_the_end)
    assert torch.equal(at_every, at_the_end)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(shaped | st.just(Sampling()), st.lists(ids, min_size=1), st.lists(ids), st.integers(0, 9)),
        min_size=2,
        max_size=6,
    )
)
def test_a_row_draws_the_same_token_alone_and_beside_others(
    rows: list[tuple[Sampling, list[int], list[int], int]],
) -> None:
    def choices() -> list[Choice]:
        return [
            Choice(sampling, seed, len(prompt) + len(output), following(sampling, prompt, output))
            for sampling, prompt, output, seed in rows
        ]

    def logits() -> torch.Tensor:
        return torch.stack([logits_of(seed) for *_, seed in rows])

    together = sample(logits(), choices())
    alone = [sample(logits()[row : row + 1], [choice])[0] for row, choice in enumerate(choices())]
    assert together == alone
    for row, (sampling, prompt, output, seed) in enumerate(rows):
        if sampling.temperature == 0:
            assert together[row] == reference(logits_of(seed), sampling, prompt, output).argmax()


def test_a_row_that_asks_for_nothing_has_no_shaping() -> None:
    plain = Sampling()
    assert shaping_of(plain, [1], ENDS) is None
    assert shaping_of(replace(plain, min_tokens=3), [1], frozenset()) is None, "nothing could end it"


def test_a_bias_of_minus_and_plus_a_hundred_forbids_and_forces() -> None:
    logits = logits_of(0)
    best = int(logits.argmax())
    for token, bias, expected in ((best, -100.0, False), (250, 100.0, True)):
        shaping = shaping_of(Sampling(logit_bias=((token, bias),)), [1], ENDS)
        rows = logits.repeat(200, 1)
        drawn = {sample(rows[n : n + 1], [Choice(Sampling(), 1, n, shaping)])[0] for n in range(200)}
        assert (drawn == {token}) if expected else (token not in drawn)


def test_a_broken_row_with_a_shaping_fails_alone() -> None:
    logits = logits_of(0).repeat(2, 1)
    logits[0, 9] = float("nan")
    bias = Sampling(logit_bias=((9, 5.0),), temperature=0)
    broken, sound = sample(logits, [Choice(bias, 1, 1, shaping_of(bias, [1], ENDS))] * 2)
    assert isinstance(broken, Exception)
    assert isinstance(sound, int)


@pytest.mark.parametrize("count", [64, 65, 129, 280])
def test_a_table_that_grows_keeps_what_it_knew(count: int) -> None:
    sampling = Sampling(frequency_penalty=1.0, repetition_penalty=1.2)
    prompt, output = list(range(count)), [*range(0, count, 3), *range(0, count, 6)]
    logits = logits_of(4)
    shaping = following(sampling, prompt, output)
    assert shaping is not None
    shaping.apply(logits)
    torch.testing.assert_close(logits, reference(logits_of(4), sampling, prompt, output))
