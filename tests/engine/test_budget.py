from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from engine.budget import LEAST, Budget


def learned(gap_s: float, decode_s: float, token_s: float) -> Budget:
    """One that has seen steps of exactly these costs."""
    budget = Budget(gap_s)
    budget.learn(4, 0, decode_s)
    budget.learn(4, 100, decode_s + 100 * token_s)
    return budget


def test_nothing_measured_limits_nothing() -> None:
    assert Budget(80.0).chunk(256) == 256


def test_the_chunk_fills_what_the_replies_leave_of_the_gap() -> None:
    assert learned(80.0, 16.0, 1.0).chunk(256) == 64
    assert learned(80.0, 16.0, 1.0).chunk(40) == 40
    assert learned(math.inf, 16.0, 1.0).chunk(256) == 256


def test_a_prompt_gets_on_where_replies_alone_are_too_slow() -> None:
    assert learned(80.0, 200.0, 1.0).chunk(256) == 200
    assert learned(80.0, 200.0, 999.0).chunk(256) == LEAST
    assert learned(80.0, 200.0, 999.0).chunk(3) == 3


def test_a_step_of_prompts_alone_is_all_theirs() -> None:
    budget = Budget(80.0)
    budget.learn(0, 40, 80.0)
    assert budget.chunk(256) == 40


def test_a_step_that_was_held_up_moves_it_little() -> None:
    budget = learned(80.0, 16.0, 1.0)
    budget.learn(4, 64, 9000.0)
    assert budget.chunk(256) == 51  # 1.025 s a token
    budget = learned(80.0, 16.0, 1.0)
    budget.learn(4, 0, 9000.0)
    assert budget.chunk(256) == 60  # 20 s for the replies


def test_a_mixed_step_faster_than_replies_alone_says_nothing() -> None:
    budget = learned(80.0, 16.0, 1.0)
    budget.learn(4, 64, 10.0)
    assert budget.chunk(256) == 64


def test_a_step_whose_rows_all_ended_says_nothing() -> None:
    budget = learned(80.0, 16.0, 1.0)
    budget.learn(0, 0, 9000.0)
    assert budget.chunk(256) == 64


@given(
    st.floats(0.001, 0.05),
    st.floats(0.0001, 0.01),
    st.floats(0.0001, 0.01),
)
def test_it_comes_to_the_cost_of_whatever_it_meets(decode_s: float, before_s: float, now_s: float) -> None:
    budget = learned(0.1, decode_s, before_s)
    for _ in range(60):
        tokens = budget.chunk(10_000)
        budget.learn(4, tokens, decode_s + tokens * now_s)
    step_s = decode_s + budget.chunk(10_000) * now_s
    assert step_s <= max(0.1, decode_s + LEAST * now_s) * 1.001
    assert step_s + now_s >= 0.1 * 0.999
