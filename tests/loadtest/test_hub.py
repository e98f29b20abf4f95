from __future__ import annotations

import asyncio
import os

import msgspec
import pytest

from loadtest.figures import Spread
from loadtest.hub import (
    Case,
    Goal,
    Measured,
    Paced,
    Plan,
    Rate,
    cases_of,
    goals_of,
    measure_paced,
    measure_rate,
    steps_of,
)
from loadtest.server import Served, serving_raw
from tests.app.serving import serving
from tests.loadtest.peer import over_socket as target_of


def rate(server: str, sockets: int, lanes: int, number: int, frames: float) -> Rate:
    return Rate(server, sockets, lanes, number, frames, frames, 1.0, 0.5)


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    rates = []
    for number, (raw, empty, default, joined) in enumerate(
        [(100.0, 50.0, 40.0, 110.0), (200.0, 140.0, 100.0, 200.0), (50.0, 40.0, 30.0, 60.0)]
    ):
        rates += [
            rate("raw", 500, 1, number, raw),
            rate("empty", 500, 1, number, empty),
            rate("default", 500, 1, number, default),
            rate("empty", 500, 4, number, joined),
        ]
    goals = goals_of(Measured(rates, [], []), Plan(sockets=(500,)))
    found = [(goal.measured, goal.limit, goal.met) for goal in goals[:3]]
    assert found == [(0.7, 0.6, True), (0.5, 0.5, True), (1.1, 1.2, False)]


def test_fewer_sockets_have_their_own_limit() -> None:
    rates = [rate("raw", 200, 1, 0, 100.0), rate("empty", 200, 1, 0, 65.0)]
    empty, default, *_ = goals_of(Measured(rates, [], []), Plan(sockets=(200,)))
    assert (empty.measured, empty.limit, empty.met) == (0.65, 0.7, False)
    assert (default.measured, default.met) == (None, None)


def test_ages_cpu_and_memory_may_be_so_much_at_most() -> None:
    def paced(server: str, number: int, cpu: float, p99: float) -> Paced:
        return Paced(server, 500, number, 25_000.0, cpu, Spread(10, p99 / 2, p99, p99, p99))

    both = [paced("raw-paced", 0, 0.25, 0.004), paced("metronome", 0, 0.4, 0.01)]
    alone = [paced("raw-paced", 1, 0.2, 0.001)]  # its counterpart was not measured
    goals = goals_of(Measured([], both + alone, [50 * 1024.0, 70 * 1024.0, 58 * 1024.0]), Plan(sockets=()))
    p99, cpu, idle = ((goal.measured, goal.met) for goal in goals)
    assert p99 == (2.5, False)
    assert cpu == (1.6, True)
    assert idle == (58.0, True)


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {goal.met for goal in goals_of(Measured([], [], []), Plan())} == {None}
    assert Goal("g", 2.0, 2.0, at_most=True).met is True
    assert Goal("g", 2.0, 2.0, at_most=False).met is True


def test_a_round_has_the_bare_loop_beside_each_of_ours() -> None:
    cases = cases_of(Plan(sockets=(20,)))
    assert cases.index(Case("empty", 20)) == cases.index(Case("raw", 20)) + 1
    assert {case.server for case in cases} == {"raw", "raw-joined", "empty", "default"}
    assert steps_of(Plan(rounds=2, sockets=(20,))) == 1 + 2 * (len(cases) + 3)


@pytest.mark.anyio
@pytest.mark.parametrize("lanes", [1, 4])
async def test_a_stretch_of_our_hub_gives_frames_and_what_they_cost(lanes: int) -> None:
    async with serving() as served:
        process = Served(target_of(served), os.getpid())
        found = await asyncio.to_thread(measure_rate, process, Case("empty", 3, lanes), 2, 0.5)
    assert (found.server, found.sockets, found.tokens_per_write, found.round) == ("empty", 3, lanes, 2)
    assert found.frames_per_s > 0
    assert found.server_cpu > 0
    assert found.frames_per_cpu_s == pytest.approx(found.frames_per_s / found.server_cpu)


def test_a_paced_stretch_of_the_bare_loop_has_its_pace_and_ages() -> None:
    with serving_raw(100, 1) as served:
        stamped = measure_paced(served, "raw-paced", 4, 0, 1.0, stamped=True)
        counted = measure_paced(served, "raw-paced", 4, 1, 1.0, stamped=False)
    assert stamped.age_s is not None
    assert 0 < stamped.frames_per_s <= 4 * 110
    assert counted.age_s is None
    assert counted.frames_per_s > 0
    assert msgspec.json.decode(msgspec.json.encode(stamped), type=Paced) == stamped
