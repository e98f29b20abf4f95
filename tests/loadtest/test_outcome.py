from __future__ import annotations

import pytest

from loadtest.outcome import RAN_OUT, longest_gap_s, outcome_of, times_of
from loadtest.play import Part
from loadtest.turn import Ask, Turn
from loadtest.workload import Script

SCRIPT = Script(("a",), Ask(10))
INTRUDER = Script(("long",), Ask(8), after_deltas=4)
TYPED = Script(("typed",), Ask(8), keys_per_s=8.0)


def turn(asked: float, *deltas: float, ended: float, tokens: int = 1, input: int = 0) -> Turn:
    made = Turn(asked, list(deltas), ended)
    made.count(tokens, input)
    return made


def failed(fault: str, detail: str = "") -> Turn:
    made = Turn(0.0, [0.1], 0.2, 5)
    made.fail(fault, detail)
    return made


def close(value: float) -> object:
    return pytest.approx(value, rel=2e-3)


def test_tokens_count_from_the_first_question_to_the_last_end() -> None:
    outcome = outcome_of(
        [
            Part(SCRIPT, [turn(10.0, 10.5, 11.0, ended=12.0, tokens=30)]),
            Part(SCRIPT, [turn(11.0, 11.25, ended=15.0, tokens=20, input=7)]),
        ]
    )
    assert outcome.measures["tokens/s"] == 10.0
    assert outcome.measures["first text p99 ms"] == close(500)
    assert outcome.measures["gap p50 ms"] == close(500)
    assert (outcome.turns, outcome.faults, outcome.input_tokens) == (2, {}, 7)
    assert outcome.counted_by == {"usage": 2}


def test_turns_with_a_fault_give_no_figures_and_are_counted_by_name() -> None:
    good = turn(0.0, 1.0, ended=2.0, tokens=10)
    parts = [
        Part(SCRIPT, [good, failed("timeout")]),
        Part(SCRIPT, [failed("timeout"), failed("refused", "no")]),
    ]
    outcome = outcome_of(parts)
    assert outcome.measures["tokens/s"] == 5.0
    assert outcome.measures["first text p50 ms"] == close(1000)
    assert (outcome.turns, outcome.faults, outcome.details) == (
        4,
        {"timeout": 2, "refused": 1},
        {"refused": "no"},
    )


def test_faults_alone_have_no_figures() -> None:
    outcome = outcome_of([Part(SCRIPT, [failed("timeout")]), Part(INTRUDER, [failed("timeout")])])
    assert (outcome.measures, outcome.faults) == ({}, {"timeout": 2})


def test_tokens_are_counted_by_deltas_where_the_server_tells_nothing() -> None:
    silent = Turn(0.0, [1.0, 2.0, 3.0], 3.0)
    silent.count(None)
    outcome = outcome_of([Part(SCRIPT, [silent])])
    assert outcome.counted_by == {"deltas": 1}
    assert outcome.measures["tokens/s"] == 1.0


def test_each_turn_of_a_chat_has_its_own_first_text() -> None:
    chats = [
        Part(SCRIPT, [turn(0, 0.4, ended=1), turn(1, 1.1, ended=2)]),
        Part(SCRIPT, [turn(0, 0.4, ended=1)]),
    ]
    measures = outcome_of(chats).measures
    assert measures["first text of turn 1 p50 ms"] == close(400)
    assert measures["first text of turn 2 p50 ms"] == close(100)


def test_the_longest_gap_is_one_that_the_long_prompt_met() -> None:
    long = turn(5.0, 8.0, ended=9.0)
    before = turn(0.0, 0.5, 4.5, 5.5, 8.1, 8.2, ended=10.0)  # waits 4 s, but before it came
    after = turn(0.0, 4.9, 5.2, 7.0, 8.5, 20.0, ended=21.0)  # waits 11.5 s, but after its first text
    assert longest_gap_s([before, after], long) == close(2.6)
    outcome = outcome_of([Part(SCRIPT, [before]), Part(SCRIPT, [after]), Part(INTRUDER, [long])])
    assert outcome.measures["longest gap ms"] == close(2600)
    assert outcome.measures["long prompt's first text ms"] == close(3000)
    assert outcome.faults == {}


def test_a_stream_that_ended_before_the_long_prompt_began_is_a_fault() -> None:
    parts = [Part(SCRIPT, [turn(0.0, 1.0, 2.0, ended=2.0)]), Part(INTRUDER, [turn(5.0, 8.0, ended=9.0)])]
    assert outcome_of(parts).faults == {RAN_OUT: 1}


def test_a_long_prompt_has_no_part_in_the_times_of_the_streams() -> None:
    parts = [Part(SCRIPT, [turn(0.0, 1.0, 9.0, ended=9.0)]), Part(INTRUDER, [turn(5.0, 8.0, 8.1, ended=9.0)])]
    assert {name: len(times) for name, times in times_of(parts).items()} == {"first text": 1, "gap": 1}


def test_a_rate_means_nothing_where_people_type() -> None:
    measures = outcome_of([Part(TYPED, [turn(0.0, 1.0, ended=2.0)])]).measures
    assert "tokens/s" not in measures
    assert measures["first text p50 ms"] == close(1000)


def test_a_turn_without_text_has_no_first_text_and_no_gaps() -> None:
    assert (Turn(1.0).first_text_s, Turn(1.0).gaps_s) == (None, [])
