from __future__ import annotations

import math

import pytest

from engine.playback import Fault
from engine.request import EngineError, EngineRequest
from engine.scripted import ScriptedEngine
from loadtest.rounds import measure, order, steps_of
from loadtest.turn import Ask
from loadtest.workload import Closed
from tests.app.serving import serving
from tests.loadtest.peer import over_http, over_socket

pytestmark = pytest.mark.anyio


async def test_plans_are_measured_round_by_round_on_every_server_without_the_one_that_warms_up() -> None:
    told = 0

    def on_turn() -> None:
        nonlocal told
        told += 1

    plans = [Closed(streams, 2, Ask(5), 7) for streams in (1, 3)]
    async with serving() as served:
        targets = [over_socket(served), over_http(served)]
        cases = await measure(targets, plans, 2, math.inf, on_turn)
    assert told == steps_of(plans, 2, 2) == (1 + 3) * 2 * 3 * 2
    assert [(case.plan, case.label) for case in cases] == [
        (plan.name, label) for plan in plans for label in ("sluice", "http")
    ]
    for case, streams in zip(cases, (1, 1, 3, 3), strict=True):
        assert [(round_, outcome.turns) for round_, outcome in case.outcomes.items()] == [
            (1, streams * 2),
            (2, streams * 2),
        ]
        assert all(outcome.measures["tokens/s"] > 0 for outcome in case.outcomes.values())
        assert len(case.times["first text"]) == streams * 2 * 2


async def test_faults_of_the_round_that_warms_up_are_not_hidden_and_its_figures_do_not_count() -> None:
    def faults(request: EngineRequest) -> Fault | None:
        refused = "7.0.0.0" in str(request.source)
        return Fault(refuse=EngineError("server_is_overloaded", "full")) if refused else None

    async with serving(ScriptedEngine(faults=faults)) as served:
        (case,) = await measure([over_socket(served)], [Closed(2, 1, Ask(2), 7)], 1, math.inf)
    assert case.outcomes[0].faults == {"server_is_overloaded": 1}
    assert case.outcomes[0].measures == {}
    assert case.outcomes[1].faults == {}
    assert len(case.times["first text"]) == 2


async def test_each_server_is_first_in_its_turn() -> None:
    async with serving() as served:
        one, other = over_socket(served), over_http(served)
    assert [order([one, other], round_)[0] for round_ in range(4)] == [one, other, one, other]
