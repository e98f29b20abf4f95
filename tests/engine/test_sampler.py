from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import sampler
from engine.request import EngineError, Sampling
from engine.sampler import NEAR, Choice, gumbel, peaks_in_blocks, peaks_of, sample

VOCAB = 2000


def logits_of(rows: int, seed: int = 0, vocab: int = VOCAB) -> torch.Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * 3


def tokens_of(logits: torch.Tensor, sampling: Sampling, draws: int) -> list[int]:
    """`draws` tokens from one row's logits, each with its own position."""
    drawn = sample(logits.expand(draws, -1), [Choice(sampling, 11, position) for position in range(draws)])
    return [token for token in drawn if isinstance(token, int)]


def nucleus(logits: torch.Tensor, sampling: Sampling) -> set[int]:
    """The tokens a sampling allows, by its definition."""
    chances = (logits / sampling.temperature).double().softmax(0)
    order = chances.argsort(descending=True).tolist()
    order = order[: sampling.top_k or None]
    mass = float(chances[order].sum())
    kept: list[int] = []
    before = 0.0
    for token in order:
        if sampling.top_p < 1 and kept and before / mass >= sampling.top_p:
            break
        kept.append(token)
        before += float(chances[token])
    return {token for token in kept if chances[token] >= sampling.min_p * chances.max()}


@pytest.mark.parametrize("temperature", [0.0, 1e-6, 1e-40])
def test_no_temperature_is_greedy(temperature: float) -> None:
    logits = logits_of(5)
    choices = [Choice(Sampling(temperature=temperature), row, row) for row in range(5)]
    assert sample(logits, choices) == logits.argmax(-1).tolist()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(top_k=3),
        Sampling(top_k=1, temperature=9.0),
        Sampling(top_p=0.5),
        Sampling(top_p=0.0),
        Sampling(top_p=0.9, temperature=0.7, top_k=12),
        Sampling(min_p=0.2),
        Sampling(min_p=0.1, top_k=50, top_p=0.95, temperature=1.5),
        Sampling(top_k=NEAR + 300, temperature=50.0),
        Sampling(top_p=0.9, temperature=50.0),
        Sampling(top_p=0.7, top_k=NEAR + 300, temperature=50.0),
    ],
)
def test_every_token_drawn_passes_the_filters_and_all_that_pass_can_come(sampling: Sampling) -> None:
    logits = logits_of(1)[0]
    allowed = nucleus(logits, sampling)
    drawn = set(tokens_of(logits, sampling, 1000))
    assert drawn <= allowed
    assert len(allowed) > 12 or drawn == allowed
    assert len(drawn) >= min(len(allowed), 12)


def test_a_nucleus_wider_than_the_candidates_is_not_cut_to_them() -> None:
    drawn = tokens_of(torch.zeros(VOCAB), Sampling(top_p=0.999), 4000)
    assert len(set(drawn)) > NEAR


def test_frequencies_follow_the_probabilities() -> None:
    chances = torch.tensor([0.5, 0.25, 0.125, 0.0625, 0.0625])
    draws = 40_000
    drawn = torch.tensor(tokens_of(chances.log(), Sampling(), draws))
    counts = torch.bincount(drawn, minlength=5) / draws
    # Five standard deviations of a binomial share.
    assert torch.all((counts - chances).abs() < 5 * (chances * (1 - chances) / draws).sqrt())


def test_noise_is_gumbel_over_tokens_positions_and_seeds() -> None:
    tokens = torch.arange(50_000, dtype=torch.int32)[None]
    for keys in ([(3, 5)], [(4, 5)], [(3, 6)], [(-1, 0)]):
        noise = gumbel(keys, tokens)[0].double()
        assert float(noise.mean()) == pytest.approx(0.5772, abs=0.03)
        assert float(noise.var()) == pytest.approx(math.pi**2 / 6, abs=0.06)
    across = torch.cat([gumbel([(9, position)], tokens[:, :1]) for position in range(4000)])
    assert float(across.mean()) == pytest.approx(0.5772, abs=0.12)
    first, second = gumbel([(1, 1), (1, 2)], tokens.expand(2, -1))
    assert abs(float(torch.corrcoef(torch.stack((first, second)))[0, 1])) < 0.02


def test_noise_is_finite_for_every_hash() -> None:
    tokens = torch.arange(1 << 20, dtype=torch.int32)[None]
    assert bool(torch.isfinite(gumbel([(0, 0)], tokens)).all())


samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]),
    top_p=st.sampled_from([0.4, 0.9, 1.0]),
    top_k=st.sampled_from([0, 1, 40, NEAR + 1]),
    min_p=st.sampled_from([0.0, 0.05]),
)
choices = st.builds(Choice, samplings, st.integers(-(2**63), 2**64), st.integers(0, 2**20))


@settings(max_examples=60, deadline=None)
@given(st.lists(choices, min_size=2, max_size=6))
def test_a_row_draws_the_same_token_alone_and_beside_others(batch: list[Choice]) -> None:
    logits = logits_of(len(batch), seed=len(batch))
    together = sample(logits, batch)
    alone = [sample(logits[row : row + 1], [choice])[0] for row, choice in enumerate(batch)]
    assert together == alone


def test_seed_and_position_both_change_the_draw() -> None:
    logits = torch.zeros(1, VOCAB)
    drawn = {
        sample(logits, [Choice(Sampling(), seed, position)])[0] for seed in range(8) for position in range(8)
    }
    assert len(drawn) > 55


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0), Sampling(top_p=0.9)])
def test_a_broken_row_fails_alone(bad: float, sampling: Sampling) -> None:
    logits = logits_of(3)
    expected = sample(logits, [Choice(sampling, 1, row) for row in range(3)])
    logits[1, 7] = bad
    results = sample(logits, [Choice(sampling, 1, row) for row in range(3)])
    assert isinstance(results[1], EngineError)
    assert results[1].code == "model_error"
    assert [results[0], results[2]] == [expected[0], expected[2]]


def test_tokens_ruled_out_by_the_model_are_never_drawn() -> None:
    logits = logits_of(1)[0]
    logits[::2] = float("-inf")
    for sampling in (Sampling(), Sampling(top_k=VOCAB), Sampling(top_p=0.99), Sampling(min_p=1e-4)):
        assert all(token % 2 for token in tokens_of(logits, sampling, 300))


def test_a_row_with_nothing_to_choose_from_fails() -> None:
    (result,) = sample(torch.full((1, VOCAB), float("-inf")), [Choice(Sampling(), 0, 0)])
    assert isinstance(result, EngineError)


def test_a_vocabulary_smaller_than_the_candidates() -> None:
    logits = logits_of(1, vocab=20)[0]
    sampling = Sampling(top_p=0.8, temperature=2.0)
    assert set(tokens_of(logits, sampling, 2000)) == nucleus(logits, sampling)


def test_candidates_decide_speed_only(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = logits_of(1)[0]
    every = [
        Sampling(top_p=0.95, temperature=2.0),
        Sampling(top_k=30),
        replace(Sampling(top_k=700), top_p=0.9),
    ]
    usual = [tokens_of(logits, sampling, 200) for sampling in every]
    monkeypatch.setattr(sampler, "NEAR", 8)
    assert [tokens_of(logits, sampling, 200) for sampling in every] == usual


@given(st.data())
def test_a_peak_is_found_at_its_first_place(data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([1, 7, 128, 300, 2048]))
    rows = data.draw(
        st.lists(st.dictionaries(st.integers(0, size - 1), st.integers(0, 2)), min_size=1, max_size=4)
    )
    logits = torch.zeros(len(rows), size)
    for row, peaks in enumerate(rows):
        for place, value in peaks.items():
            logits[row, place] = value
    for find in (peaks_of, peaks_in_blocks):
        found, places = find(logits)
        assert found.tolist() == logits.amax(-1).tolist()
        assert places.tolist() == [row.index(max(row)) for row in logits.tolist()]


def test_what_is_not_a_number_is_the_peak() -> None:
    logits = torch.zeros(2, 300)
    logits[1, 200], logits[1, 10] = float("nan"), float("inf")
    for find in (peaks_of, peaks_in_blocks):
        found, _ = find(logits)
        assert found.isnan().tolist() == [False, True]
