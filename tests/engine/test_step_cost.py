from __future__ import annotations

import random

import pytest

from engine.step_cost import StepCost


def learned(steps: list[tuple[int, float]]) -> StepCost:
    cost = StepCost()
    for tokens, step_s in steps:
        cost.learn(tokens, step_s)
    return cost


def test_nothing_is_known_at_first() -> None:
    assert not StepCost().known
    assert learned([(1, 0.01)]).known


def test_a_line_is_found_in_steps_of_different_sizes() -> None:
    chance = random.Random(1)
    steps = [
        (n, (8 + 1.5 * n) * 1e-3 * chance.uniform(0.95, 1.05)) for n in chance.choices(range(1, 9), k=400)
    ]
    cost = learned(steps)
    assert cost.token_s == pytest.approx(1.5e-3, rel=0.15)
    assert cost.of(1) == pytest.approx(9.5e-3, rel=0.1)
    assert cost.of(8) == pytest.approx(20e-3, rel=0.1)


def test_a_slope_that_was_found_stays_while_all_steps_are_alike() -> None:
    cost = learned([(1 + n % 8, 8e-3 + 1e-4 * (n % 8)) for n in range(400)])
    before = cost.token_s
    for _ in range(1000):
        cost.learn(8, 8.7e-3)
    assert cost.token_s == pytest.approx(before, rel=0.05)


def test_steps_that_become_longer_are_followed() -> None:
    cost = learned([(1, 10e-3)] * 50 + [(1, 20e-3)] * 200)
    assert cost.of(1) == pytest.approx(20e-3, rel=0.01)


def test_a_step_that_was_held_up_says_little() -> None:
    cost = learned([(1 + n % 4, 10e-3) for n in range(100)])
    cost.learn(4, 10.0)
    assert cost.of(4) < 11.2e-3


def test_a_token_is_never_free() -> None:
    cost = learned([(1 + n % 8, 10e-3 - 5e-4 * (n % 8)) for n in range(400)])
    assert cost.token_s > 0
    assert cost.of(100) > cost.of(50)


def test_a_step_takes_what_its_tokens_add() -> None:
    cost = learned([(8 + n % 8, (8 + n % 8) * 2e-3) for n in range(400)])
    assert cost.of(1) == pytest.approx(2e-3, rel=0.2)
    assert "ms a token" in repr(cost)
