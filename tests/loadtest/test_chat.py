from __future__ import annotations

import pytest

from loadtest.chat import Plan, figures_of, measure, prompts_of, run_of, steps_of
from loadtest.figures import Spread
from loadtest.user import Ask, Turn
from tests.app.serving import serving
from tests.loadtest.test_user import target_of


def turn(asked: float, *deltas: float, ended: float, tokens: int) -> Turn:
    return Turn(asked, list(deltas), ended, tokens)


def test_a_run_counts_tokens_from_the_first_question_to_the_last_end() -> None:
    turns = [
        turn(10.0, 10.5, 11.0, ended=12.0, tokens=30),
        turn(11.0, 11.25, ended=15.0, tokens=20),
    ]
    run = run_of(2, turns, 99.0)
    assert run.tokens_per_s == 50 / 5.0
    assert run.first_text_s == Spread.of([0.5, 0.25])
    assert run.gap_s == Spread.of([0.5])
    assert (run.turns, run.faults) == (2, {})


def test_turns_with_a_fault_give_no_figures() -> None:
    good = turn(0.0, 1.0, ended=2.0, tokens=10)
    run = run_of(2, [good, Turn(0.0, [0.1], 0.2, 5, "timeout"), Turn(0.0, fault="timeout")], 9.0)
    assert run.tokens_per_s == 5.0
    assert run.first_text_s == Spread.of([1.0])
    assert (run.turns, run.faults) == (3, {"timeout": 2})


def test_a_run_of_faults_alone_is_empty() -> None:
    run = run_of(1, [Turn(0.0, fault="timeout")], 9.0)
    assert (run.tokens_per_s, run.first_text_s, run.gap_s) == (0.0, None, None)


def test_figures_are_medians_of_the_runs_of_each_number_of_streams() -> None:
    runs = [
        run_of(streams, [turn(0.0, first, first + 1, ended=10.0, tokens=tokens)], 10.0)
        for streams, first, tokens in [(1, 0.1, 10), (1, 0.3, 30), (1, 0.2, 50), (8, 0.4, 80)]
    ]
    one, eight = figures_of(runs)
    assert (one.streams, one.runs, one.tokens_per_s, one.turns) == (1, 3, 3.0, 3)
    assert one.first_text_s is not None
    assert one.first_text_s.p50 == 0.2
    assert (eight.streams, eight.tokens_per_s) == (8, 8.0)


def test_no_two_turns_ask_in_the_same_words() -> None:
    asked = [prompt for run in range(4) for user in range(8) for prompt in prompts_of(run, user, 3)]
    assert len(set(asked)) == len(asked) == 4 * 8 * 3


@pytest.mark.anyio
async def test_a_plan_is_measured_run_by_run_without_the_one_that_warms_up() -> None:
    told = 0

    def on_turn() -> None:
        nonlocal told
        told += 1

    plan = Plan((1, 3), Ask(5), turns=2, runs=2)
    async with serving() as served:
        runs = await measure(target_of(served), plan, on_turn)
    assert told == steps_of(plan) == (1 + 3) * 2 * 3
    assert [(run.streams, run.turns, run.faults) for run in runs] == [(1, 2, {})] * 2 + [(3, 6, {})] * 2
    assert all(run.tokens_per_s > 0 for run in runs)


@pytest.mark.anyio
async def test_faults_of_the_run_that_warms_up_are_not_hidden() -> None:
    async with serving() as served:
        runs = await measure(
            target_of(served, "wrong-key-of-thirty-two-characters"), Plan((1,), Ask(2), 1, 1)
        )
    assert [sum(run.faults.values()) for run in runs] == [1, 1]
