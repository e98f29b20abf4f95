from __future__ import annotations

from engine.lookup import Lookup
from engine.speculation import STRETCH, Speculation
from tests.engine.test_scheduler import ENDLESS, Bench

MEMORY_BOUND = (10e-3, 0.1e-3)  # of a step without a token, and of each token
COMPUTE_BOUND = (0.0, 2e-3)


def speculation(takes: tuple[float, float], most: int = 7) -> Speculation:
    """One that has seen steps of 1 to 8 tokens."""
    known = Speculation(most)
    for n in range(400):
        tokens = 1 + n % 8
        known.learn(tokens, takes[0] + takes[1] * tokens)
    return known


def repeating(times: int = 20) -> Lookup:
    """Of a reply that says the same again and again."""
    lookup = Lookup([1, 2, 3, 4, 5], 1000)
    for _ in range(times):
        for token in (1, 2, 3, 4, 5):
            lookup.follow(token)
    return lookup


def rambling() -> Lookup:
    """Of a reply in which what was guessed was wrong."""
    lookup = Lookup([1, 2, 3], 1000)
    for token in range(10, 30):
        for said in (token, 1, 2, 3):
            lookup.follow(said)
    return lookup


def test_before_a_step_was_measured_nothing_is_guessed() -> None:
    assert Speculation(7).share([repeating()]) == [0]
    assert speculation(MEMORY_BOUND).share([]) == []


def test_a_reply_alone_that_repeats_itself_gets_as_many_as_there_may_be() -> None:
    assert speculation(MEMORY_BOUND).share([repeating()]) == [7]
    assert speculation(MEMORY_BOUND, most=3).share([repeating()]) == [3]


def test_where_a_token_takes_its_time_whatever_the_step_nothing_is_guessed() -> None:
    known = speculation(COMPUTE_BOUND)
    assert known.share([repeating()]) == [0]
    assert known.share([repeating()] * 8) == [0] * 8


def test_a_reply_that_was_never_right_is_not_guessed_at() -> None:
    assert speculation((10e-3, 1.5e-3)).share([rambling()]) == [0]
    assert speculation(MEMORY_BOUND).share([Lookup([1, 2], 10), None]) == [0, 0]


def test_the_likelier_guesses_come_first_and_none_makes_the_others_wait_for_long() -> None:
    known = speculation((10e-3, 1e-3))
    counts = known.share([rambling(), repeating(), None, repeating()])
    assert counts[0] == counts[2] == 0
    assert counts[1] > 1
    assert counts[3] > 1
    plain_s, guesses = 14e-3, sum(counts)
    assert plain_s + guesses * 1e-3 <= STRETCH * plain_s < plain_s + (guesses + 2) * 1e-3


def test_where_all_gain_the_step_may_be_as_long_as_it_is_worth() -> None:
    assert speculation((10e-3, 1e-3)).share([repeating(), repeating(), repeating()]) == [7, 7, 7]


def test_a_reply_whose_logits_are_its_own_affair_is_not_guessed_at() -> None:
    bench = Bench()
    bench.scheduler.speculation = speculation(MEMORY_BOUND)
    free = bench.submit("a", [1, 2, 3, 1, 2, 3])
    off = bench.submit("b", 4)
    assert free.lookup is None
    off.reply.shaping = object()  # type: ignore[assignment]
    bench.step()
    assert free.lookup is not None
    assert off.lookup is None


def test_without_guesses_nothing_is_kept_for_them() -> None:
    bench = Bench()
    sequence = bench.submit("a", 4, ENDLESS)
    bench.step(3)
    assert sequence.lookup is None
    assert repr(bench.scheduler.speculation).startswith("<Speculation most=0 <StepCost 0.0ms")
