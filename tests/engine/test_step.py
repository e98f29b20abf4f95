"""How prompts share a step."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from engine.step import EVEN_PART, FINE, in_tokens, share_out, soonest_first

WANTED = st.lists(st.tuples(st.integers(1, 40), st.sampled_from([0.25, 0.5, 1.0, 1 / 3, 4.0])), max_size=6)


def test_who_wants_little_leaves_the_rest_to_the_others() -> None:
    assert share_out(12, [2, 40, 40], [1, 1, 1]) == [2, 5, 5]
    assert share_out(12, [2, 40, 40], [1, 3, 1]) == [2, 7, 3]


@given(st.integers(1, 60), WANTED)
def test_a_budget_is_shared_by_weight_and_used_up(budget: int, claims: list[tuple[int, float]]) -> None:
    wanted, weights = [want for want, _ in claims], [weight for _, weight in claims]
    budget, wanted = budget * FINE, [want * FINE for want in wanted]
    shares = share_out(budget, wanted, weights)
    assert sum(shares) == min(budget, sum(wanted))
    assert all(0 <= share <= want for share, want in zip(shares, wanted, strict=True))
    short = [
        (share, weight) for share, want, weight in zip(shares, wanted, weights, strict=True) if share < want
    ]
    for share, weight in short:
        for other, others_weight in zip(shares, weights, strict=True):
            assert other / others_weight <= (share + len(claims)) / weight + len(claims) / others_weight, (
                "but for rounding"
            )


def test_equal_prompts_are_read_one_after_the_other() -> None:
    assert soonest_first(100, [49, 49, 49, 49]) == [49, 38, 6, 7]


def test_a_long_prompt_gets_on_among_short_ones() -> None:
    assert soonest_first(100, [4_000, 60, 80]) == [9, 60, 31]


@given(st.integers(1, 200), st.lists(st.integers(1, 100), min_size=1, max_size=8))
def test_the_soonest_is_through_first_and_nobody_stands_still(budget: int, wanted: list[int]) -> None:
    shares = soonest_first(budget, wanted)
    assert sum(shares) == min(budget, sum(wanted))
    assert all(0 <= share <= want for share, want in zip(shares, wanted, strict=True))
    even = share_out(budget // EVEN_PART, wanted, [1.0] * len(wanted))
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    for before, behind in pairwise(order):
        assert shares[before] == wanted[before] or shares[behind] == even[behind]
    if budget >= EVEN_PART * len(wanted):
        assert all(shares)


@given(st.lists(st.integers(0, 9 * FINE), max_size=8), st.integers(0, 1 << 40))
def test_shares_become_one_of_the_two_nearest_numbers_of_tokens(shares: list[int], turn: int) -> None:
    given_tokens = in_tokens(shares, turn)
    assert all(
        share // FINE <= tokens <= -(-share // FINE)
        for share, tokens in zip(shares, given_tokens, strict=True)
    )
    if sum(shares) % FINE == 0:
        assert sum(given_tokens) == sum(shares) // FINE


@given(st.lists(st.integers(0, 2 * FINE), min_size=1, max_size=8), st.integers(0, 1000))
def test_over_many_turns_everybody_has_its_share(shares: list[int], first: int) -> None:
    turns = 500
    steps = [in_tokens(shares, turn) for turn in range(first, first + turns)]
    for share, each in zip(shares, zip(*steps, strict=True), strict=True):
        assert abs(sum(each) - turns * share / FINE) < 8
