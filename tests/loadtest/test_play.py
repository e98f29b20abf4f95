"""Scripts against our own server, over the WebSocket and over chat completions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.playback import Fault
from engine.request import EngineError, EngineRequest
from engine.scripted import ScriptedEngine
from loadtest import play as module
from loadtest.play import play
from loadtest.target import Target
from loadtest.turn import Ask, Turn
from loadtest.workload import Closed, Intrusion, Open, Script, Typing
from tests.app.policies import FORBIDDEN, write_policy
from tests.app.serving import serving
from tests.loadtest.peer import over_http, over_socket

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("target_of", [over_socket, over_http], ids=["socket", "http"]),
]
TargetOf = Callable[..., Target]


async def acted(target: Target, *scripts: Script) -> list[Turn]:
    return [turn for part in await play(target, scripts, math.inf) for turn in part.turns]


async def test_each_line_is_a_turn_and_its_tokens_are_those_counted_by_the_engine(
    target_of: TargetOf,
) -> None:
    told = 0

    def on_turn() -> None:
        nonlocal told
        told += 1

    async with serving() as served:
        (part,) = await play(
            target_of(served), [Script(("one two three", "four five"), Ask(4))], math.inf, on_turn
        )
    assert told == 2
    assert [turn.fault for turn in part.turns] == [None, None]
    assert [turn.output_tokens for turn in part.turns] == [4, 4]  # the end of the turn is ignored
    for turn in part.turns:
        assert turn.counted_by == "usage"
        assert turn.ended_at is not None
        assert turn.asked_at < turn.delta_at[0] <= turn.delta_at[-1] <= turn.ended_at
        assert len(turn.gaps_s) == len(turn.delta_at) - 1


async def test_a_chat_keeps_its_history(target_of: TargetOf) -> None:
    async with serving() as served:
        first, second = await acted(
            target_of(served), Script(("one two three four five six", "seven"), Ask(6))
        )
        (alone,) = await acted(target_of(served), Script(("seven",), Ask(6)))
    assert second.input_tokens > first.input_tokens > alone.input_tokens


async def test_answers_end_where_the_model_ends_them_if_asked(target_of: TargetOf) -> None:
    async with serving() as served:
        (turn,) = await acted(target_of(served), Script(("one two",), Ask(50, ignore_eos=False)))
    assert 1 <= len(turn.delta_at) <= 2
    assert 2 <= turn.output_tokens < 50


async def test_a_wrong_key_is_a_fault_of_every_turn(target_of: TargetOf) -> None:
    async with serving() as served:
        turns = await acted(
            target_of(served, "wrong-key-of-thirty-two-characters"), Script(("a", "b"), Ask(2))
        )
    assert [turn.fault for turn in turns] == ["unauthorized"] * 2


async def test_a_refusal_is_a_fault_by_its_code_and_the_next_turn_goes_on(target_of: TargetOf) -> None:
    def faults(request: EngineRequest) -> Fault | None:
        refused = "refuse" in str(request.source)
        return Fault(refuse=EngineError("server_is_overloaded", "full")) if refused else None

    async with serving(ScriptedEngine(faults=faults)) as served:
        turns = await acted(target_of(served), Script(("refuse", "serve"), Ask(2)))
    assert [turn.fault for turn in turns] == ["server_is_overloaded", None]


async def test_a_response_that_fails_is_a_fault(target_of: TargetOf) -> None:
    def faults(request: EngineRequest) -> Fault | None:
        return Fault(after_tokens=1, error=RuntimeError("broken"))

    async with serving(ScriptedEngine(faults=faults)) as served:
        (turn,) = await acted(target_of(served), Script(("one two three",), Ask(3)))
    assert turn.fault in ("failed", "internal_error", "model_error")


async def test_a_cut_by_the_gate_is_a_fault(target_of: TargetOf, tmp_path: Path) -> None:
    async with serving(policy=write_policy(tmp_path, FORBIDDEN)) as served:
        (turn,) = await acted(
            target_of(served), Script(("a forbidden phrase said",), Ask(40, ignore_eos=False))
        )
    assert turn.fault == "content_filter"


async def test_an_answer_that_never_ends_is_a_timeout(target_of: TargetOf) -> None:
    def faults(request: EngineRequest) -> Fault | None:
        return Fault(after_tokens=1)

    async with serving(ScriptedEngine(faults=faults)) as served:
        (turn,) = await acted(target_of(served), Script(("one two three",), Ask(3, timeout_s=0.3)))
    assert (turn.fault, turn.ended_at) == ("timeout", None)


async def test_what_the_end_of_the_run_meets_is_a_fault_and_what_follows_does_not_begin(
    target_of: TargetOf,
) -> None:
    def faults(request: EngineRequest) -> Fault | None:
        return Fault(after_tokens=1)

    async with serving(ScriptedEngine(faults=faults)) as served:
        (part,) = await play(
            target_of(served), [Script(("one two", "three"), Ask(3))], time.perf_counter() + 0.3
        )
    assert [turn.fault for turn in part.turns] == ["timeout", "out_of_time"]


async def test_a_server_that_is_not_there_is_a_fault(target_of: TargetOf) -> None:
    async with serving() as served:
        target = target_of(served)
    (turn,) = await acted(target, Script(("a",), Ask(2)))
    assert turn.fault == "refused"


async def test_an_empty_answer_is_no_success(target_of: TargetOf) -> None:
    async with serving(ScriptedEngine(split=lambda text: [])) as served:
        (turn,) = await acted(target_of(served), Script(("a",), Ask(2, ignore_eos=False)))
    assert turn.fault == "no_text"


async def test_a_long_prompt_comes_when_every_stream_runs(target_of: TargetOf) -> None:
    plan = Intrusion(3, 40, Ask(40), 7, after_deltas=5)
    async with serving(ScriptedEngine(tokens_per_s=100)) as served:
        parts = await play(target_of(served), plan.scripts(0), math.inf)
    *running, intruder = [part.turns[0] for part in parts]
    assert [turn.fault for turn in (*running, intruder)] == [None] * 4
    assert all(turn.delta_at[4] <= intruder.asked_at for turn in running)


async def test_a_long_prompt_does_not_wait_for_streams_that_failed(target_of: TargetOf) -> None:
    async with serving() as served:
        parts = await play(
            target_of(served, "wrong-key-of-thirty-two-characters"),
            Intrusion(2, 10, Ask(9), 7).scripts(0),
            math.inf,
        )
    assert [part.turns[0].fault for part in parts] == ["unauthorized"] * 3


async def test_chats_arrive_at_their_moments_and_are_timed_from_them(target_of: TargetOf) -> None:
    scripts = Open(200.0, 6, 1, Ask(3), 7).scripts(0)
    async with serving() as served:
        parts = await play(target_of(served), scripts, math.inf)
    asked = [part.turns[0].asked_at for part in parts]
    assert [part.turns[0].fault for part in parts] == [None] * 6
    for place, script in enumerate(scripts):
        assert script.begins_s is not None
        assert scripts[0].begins_s is not None
        assert asked[place] - asked[0] == pytest.approx(script.begins_s - scripts[0].begins_s)


async def test_arrivals_beyond_the_bound_are_a_fault(
    target_of: TargetOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_AT_ONCE", 2)
    async with serving(ScriptedEngine(tokens_per_s=50)) as served:
        turns = await acted(target_of(served), *Closed(3, 1, Ask(4), 7).scripts(0))
    assert [turn.fault for turn in turns] == [None, None, "too_many_at_once"]


async def test_a_line_is_sent_with_its_last_key(target_of: TargetOf) -> None:
    (script,) = Typing(1, 5, 500.0, Ask(3), 7).scripts(0)
    began = time.perf_counter()
    async with serving() as served:
        (turn,) = await acted(target_of(served), script)
    assert turn.fault is None
    assert turn.asked_at - began >= script.typed_s(script.lines[0])
