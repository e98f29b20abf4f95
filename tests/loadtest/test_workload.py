from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.turn import Ask
from loadtest.words import prose
from loadtest.workload import RECITAL_WORDS, Closed, Intrusion, Open, Plan, Typing, poisson

ASK = Ask(10)
PLANS: list[Plan] = [
    Closed(3, 2, ASK, 7, opening_words=20),
    Closed(3, 2, ASK, 7, task="repeat"),
    Open(2.0, 5, 1, ASK, 7),
    Intrusion(4, 100, ASK, 7),
    Typing(2, 12, 8.0, ASK, 7),
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: type(plan).__name__)
def test_every_server_hears_the_same_in_a_round_and_no_line_twice_in_a_test(plan: Plan) -> None:
    rounds = [plan.scripts(round_) for round_ in range(3)]
    assert rounds[1] == plan.scripts(1)
    lines = [line for scripts in rounds for script in scripts for line in script.lines]
    assert len({line[:12] for line in lines}) == len(lines)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: type(plan).__name__)
def test_another_seed_says_nothing_that_was_said_before(plan: Plan) -> None:
    other = replace(plan, seed=8)  # type: ignore[type-var]
    said, also = ({line[:12] for script in one.scripts(1) for line in script.lines} for one in (plan, other))
    assert not said & also


def test_streams_are_chats_of_several_turns_about_a_text() -> None:
    scripts = Closed(2, 3, ASK, 7, opening_words=50).scripts(0)
    assert [len(script.lines) for script in scripts] == [3, 3]
    assert all(len(script.lines[0].split()) > 50 > len(script.lines[1].split()) for script in scripts)


def test_a_text_to_repeat_is_as_long_as_asked_for_and_another_one_each_turn() -> None:
    plan = Closed(1, 2, ASK, 7, opening_words=50, task="repeat")
    (script,) = plan.scripts(0)
    assert plan.name == "1 stream, chats of 2 turns, repeating a text"
    first, second = (line.partition("\n\n")[2] for line in script.lines)
    assert first != second
    assert 50 <= len(first.split()) <= 80
    (longer,) = replace(plan, opening_words=0).scripts(0)
    assert len(longer.lines[0].split()) > RECITAL_WORDS


@given(st.floats(0.1, 100), st.integers(0, 2**32))
def test_arrivals_come_one_after_the_other_and_are_kept_by_their_seed(rate: float, seed: int) -> None:
    moments = list(islice(poisson(rate, random.Random(seed)), 50))
    assert all(0 < before < after for before, after in pairwise(moments))
    assert moments == list(islice(poisson(rate, random.Random(seed)), 50))


def test_arrivals_keep_their_rate() -> None:
    *_, last = islice(poisson(4.0, random.Random(1)), 20_000)
    assert 20_000 / last == pytest.approx(4.0, rel=0.03)


def test_chats_arrive_at_other_moments_in_each_round() -> None:
    plan = Open(2.0, 5, 1, ASK, 7)
    assert [one.begins_s for one in plan.scripts(0)] != [one.begins_s for one in plan.scripts(1)]


def test_the_long_prompt_waits_for_the_streams_and_asks_for_little() -> None:
    *running, intruder = Intrusion(4, 100, ASK, 7).scripts(0)
    assert len(running) == 4
    assert not any(script.after_deltas for script in running)
    assert (intruder.after_deltas, intruder.ask.max_tokens) == (16, 8)
    assert len(intruder.lines[0].split()) > 100


def test_a_line_takes_as_long_as_its_keys() -> None:
    (script,) = Typing(1, 12, 8.0, ASK, 7).scripts(0)
    assert script.typed_s("sixteen letters.") == 2.0
    assert Closed(1, 1, ASK, 7).scripts(0)[0].typed_s("sixteen letters.") == 0.0


def test_prose_is_the_same_for_a_tag_and_begins_with_it() -> None:
    assert prose("a", 40) == prose("a", 40)
    assert prose("a", 40).startswith("a: ")
    assert 40 <= len(prose("a", 40).split()) <= 60


@pytest.mark.parametrize(
    ("plan", "name"),
    [
        (Closed(1, 1, ASK, 7), "1 stream"),
        (Closed(4, 4, ASK, 7), "4 streams, chats of 4 turns"),
        (Open(0.5, 5, 1, ASK, 7), "0.5 chats/s arriving"),
        (Intrusion(8, 100, ASK, 7), "long prompt beside 8 streams"),
        (Typing(1, 12, 8.0, ASK, 7), "1 user typing 12 words"),
    ],
)
def test_a_plan_says_what_it_is(plan: Plan, name: str) -> None:
    assert plan.name == name
