from __future__ import annotations

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve

from engine.playback import Fault
from engine.request import EngineError, EngineRequest
from engine.scripted import ScriptedEngine
from loadtest.target import Target
from loadtest.user import Ask, Turn, closed_loop
from tests.app.serving import Served, serving

pytestmark = pytest.mark.anyio


def target_of(served: Served, key: str | None = None) -> Target:
    return Target("ws", "127.0.0.1", served.server.port, "/v1/responses", key or served.key)


async def test_each_prompt_is_a_turn_and_its_tokens_are_those_counted_by_the_engine() -> None:
    told = 0

    def on_turn() -> None:
        nonlocal told
        told += 1

    async with serving() as served:
        turns = await closed_loop(target_of(served), ["one two three", "four five"], Ask(4), on_turn)
    assert told == 2
    assert [turn.fault for turn in turns] == [None, None]
    assert [turn.output_tokens for turn in turns] == [4, 4]  # the end of the turn is ignored
    for turn in turns:
        assert turn.first_text_s is not None
        assert turn.ended_at is not None
        assert turn.asked_at < turn.delta_at[0] <= turn.delta_at[-1] <= turn.ended_at
        assert len(turn.gaps_s) == len(turn.delta_at) - 1


async def test_answers_end_where_the_model_ends_them_if_asked() -> None:
    async with serving() as served:
        (turn,) = await closed_loop(target_of(served), ["one two"], Ask(50, ignore_eos=False))
    assert len(turn.delta_at) == 2
    assert 2 <= turn.output_tokens < 50


async def test_a_wrong_key_is_a_fault_of_every_turn() -> None:
    async with serving() as served:
        turns = await closed_loop(target_of(served, "wrong-key-of-thirty-two-characters"), ["a", "b"], Ask(2))
    assert [str(turn.fault).split(":")[0] for turn in turns] == ["InvalidStatus", "InvalidStatus"]


async def test_a_refusal_is_a_fault_by_its_code_and_the_next_turn_goes_on() -> None:
    def faults(request: EngineRequest) -> Fault | None:
        refused = "refuse" in str(request.source)
        return Fault(refuse=EngineError("server_is_overloaded", "full")) if refused else None

    async with serving(ScriptedEngine(faults=faults)) as served:
        turns = await closed_loop(target_of(served), ["refuse", "serve"], Ask(2))
    assert [turn.fault for turn in turns] == ["server_is_overloaded", None]


async def test_a_response_that_fails_is_a_fault() -> None:
    def faults(request: EngineRequest) -> Fault | None:
        return Fault(after_tokens=1, error=RuntimeError("broken"))

    async with serving(ScriptedEngine(faults=faults)) as served:
        (turn,) = await closed_loop(target_of(served), ["one two three"], Ask(3))
    assert turn.fault == "response.failed"


async def test_an_answer_that_never_ends_is_a_timeout() -> None:
    def faults(request: EngineRequest) -> Fault | None:
        return Fault(after_tokens=1)

    async with serving(ScriptedEngine(faults=faults)) as served:
        (turn,) = await closed_loop(target_of(served), ["one two three"], Ask(3, timeout_s=0.3))
    assert (turn.fault, turn.ended_at) == ("timeout", None)


async def test_a_broken_contract_is_a_fault_and_the_next_turn_has_a_new_socket() -> None:
    sockets = 0

    async def answer(socket: ServerConnection) -> None:
        nonlocal sockets
        sockets += 1
        await socket.recv()
        await socket.send('{"type":"response.output_text.delta","sequence_number":7,"delta":"x"}')
        await socket.wait_closed()

    async with serve(answer, "127.0.0.1", 0) as server:
        turns = await closed_loop(target_at(server), ["a", "b"], Ask(2))
    assert [str(turn.fault).split(":")[0] for turn in turns] == ["contract broken"] * 2
    assert sockets == 2


async def test_a_socket_that_closes_within_a_turn_is_a_fault() -> None:
    async def answer(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.close(1012)

    async with serve(answer, "127.0.0.1", 0) as server:
        (turn,) = await closed_loop(target_at(server), ["a"], Ask(2))
    assert str(turn.fault).startswith("ConnectionClosed")
    assert turn.ended_at is None


async def test_a_server_that_is_not_there_is_a_fault() -> None:
    async with serve(lambda socket: socket.close(), "127.0.0.1", 0) as server:
        target = target_at(server)
    (turn,) = await closed_loop(target, ["a"], Ask(2))
    assert "refused" in str(turn.fault) or "Connect" in str(turn.fault)


def target_at(server: Server) -> Target:
    return Target("ws", "127.0.0.1", next(iter(server.sockets)).getsockname()[1], "/", "key")


async def test_a_turn_without_text_has_no_first_text_and_no_gaps() -> None:
    turn = Turn(1.0)
    assert turn.first_text_s is None
    assert turn.gaps_s == []
