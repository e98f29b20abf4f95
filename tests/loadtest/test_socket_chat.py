"""What only our WebSocket can do wrong."""

from __future__ import annotations

import math

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve

from loadtest.play import play
from loadtest.target import Target
from loadtest.turn import Ask, Turn
from loadtest.workload import Script

pytestmark = pytest.mark.anyio


def target_at(server: Server) -> Target:
    return Target("ws", "127.0.0.1", next(iter(server.sockets)).getsockname()[1], "/", "key")


async def acted(server: Server, *lines: str) -> list[Turn]:
    (part,) = await play(target_at(server), [Script(lines, Ask(2))], math.inf)
    return part.turns


async def test_a_broken_contract_is_a_fault_and_the_next_turn_has_a_new_socket() -> None:
    sockets = 0

    async def answer(socket: ServerConnection) -> None:
        nonlocal sockets
        sockets += 1
        await socket.recv()
        await socket.send('{"type":"response.output_text.delta","sequence_number":7,"delta":"x"}')
        await socket.wait_closed()

    async with serve(answer, "127.0.0.1", 0) as server:
        turns = await acted(server, "a", "b")
    assert [turn.fault for turn in turns] == ["contract_broken"] * 2
    assert sockets == 2


async def test_a_socket_that_closes_within_a_turn_is_a_cut() -> None:
    async def answer(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.close(1012)

    async with serve(answer, "127.0.0.1", 0) as server:
        (turn,) = await acted(server, "a")
    assert (turn.fault, turn.ended_at) == ("stream_cut", None)
