from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.lookup import LENGTH, MOST_SLOTS, Lookup

ABC = [7, 8, 9]


def followed(prompt: list[int], said: list[int]) -> Lookup:
    lookup = Lookup(prompt, 100)
    for token in said:
        lookup.follow(token)
    return lookup


def test_three_tokens_that_came_before_are_thought_to_go_on_as_they_did() -> None:
    assert followed([1, *ABC, 2, 3, 4, *ABC], []).guess(4) == [2, 3, 4, 7]
    assert followed([1, *ABC, 2, 3, 4, 7, 8], [9]).guess(2) == [2, 3]
    assert followed([5], [*ABC, 2, 3, *ABC]).guess(3) == [2, 3, 7]


def test_of_several_places_the_latest_counts() -> None:
    assert followed([*ABC, 1, *ABC, 2, *ABC], []).guess(1) == [2]
    assert followed([*ABC, 1, *ABC], [2, *ABC]).guess(1) == [2]


def test_nothing_is_guessed_where_nothing_came_before() -> None:
    for lookup in (followed([], []), followed([1, 2], []), followed([1, 2, 3], []), followed([1, 2], [3, 4])):
        assert lookup.guess(3) == []
        assert lookup.rate(0) == 0


def test_what_is_repeated_just_now_is_guessed_beyond_its_end() -> None:
    assert followed([1, 2, 1, 2, 1, 2], []).guess(5) == [1, 2, 1, 2, 1]
    assert followed([4] * 5, []).guess(3) == [4, 4, 4]


def test_a_place_is_kept_while_it_is_right() -> None:
    # A look at the latest three alone would go on from the later place.
    lookup = followed([1, *ABC, 5, *ABC, 6, 1], ABC)
    assert lookup.guess(1) == [5]


def test_a_wrong_place_is_left_for_another() -> None:
    lookup = followed([*ABC, 1, 8, 9, 2, 3, 4, 0, *ABC], [2])
    assert lookup.guess(2) == [3, 4]
    assert followed([*ABC, 1, 0, *ABC], [2]).guess(1) == []


def test_rates_fall_where_guesses_are_wrong_and_rise_where_they_are_right() -> None:
    lookup = followed(ABC, [])
    rates = []
    for other in range(10, 20):
        lookup.follow(other)
        for token in ABC:
            lookup.follow(token)
        rates.append(lookup.rate(0))
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.1
    for _ in range(40):
        lookup.follow(lookup.guess(1)[0])
    assert lookup.rate(0) > 0.9
    assert repr(lookup) == "<Lookup tokens=83 right=40 rates=0.61,1.00>"


def test_a_place_that_was_right_for_long_has_a_rate_of_its_own() -> None:
    lookup = followed([*ABC, 1, 2, 3, 4, 5, 6, *ABC], [])
    assert lookup.rate(0) < lookup.rate(4) == lookup.rate(9)
    fresh = lookup.rate(0)
    for token in (1, 2, 3, 4):
        lookup.follow(token)
    assert lookup.rate(0) > fresh


def test_a_long_context_forgets_its_oldest_places_and_nothing_else() -> None:
    lookup = Lookup(range(4 * MOST_SLOTS), 100)
    for token in ABC:
        lookup.follow(token)
    assert len(lookup._table) == MOST_SLOTS
    for token in range(4 * MOST_SLOTS - 20, 4 * MOST_SLOTS - 17):
        lookup.follow(token)
    assert lookup.guess(2) == [4 * MOST_SLOTS - 17, 4 * MOST_SLOTS - 16]


@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(0, 3), max_size=40))
def test_a_prompt_is_entered_as_a_reply_is(prompt: list[int], said: list[int]) -> None:
    entered = Lookup([*prompt, *said], 50)
    followed_ = Lookup(prompt, 50 + len(said))
    for token in said:
        followed_.follow(token)
    assert entered._mask == followed_._mask
    assert list(entered._table) == list(followed_._table)


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(1, 9))
def test_a_guess_is_what_stands_behind_the_same_tokens(said: list[int], count: int) -> None:
    lookup = followed([], said)
    guesses = lookup.guess(count)
    if not guesses:
        seen = {tuple(said[at : at + LENGTH]) for at in range(len(said) - LENGTH)}
        assert tuple(said[-LENGTH:]) not in seen or len(said) < LENGTH
        return
    assert len(guesses) == count
    whole = [*said, *guesses]
    places = [at for at in range(LENGTH, len(said)) if whole[at - LENGTH : at] == said[-LENGTH:]]
    assert any(whole[at : at + count] == guesses for at in places)
