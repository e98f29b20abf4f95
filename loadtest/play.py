"""Scripts acted out against one server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from loadtest.completions_chat import CompletionsChat
from loadtest.faults import name_error
from loadtest.socket_chat import SocketChat
from loadtest.target import Target
from loadtest.turn import Conversation, Turn
from loadtest.workload import Script

MOST_AT_ONCE: Final = 4096
"""Chats that may run side by side; an arrival beyond is a fault of its own, never a socket."""


@dataclass(frozen=True, slots=True)
class Part:
    """What became of a script: a turn for each of its lines."""

    script: Script
    turns: list[Turn]


def converse(target: Target) -> Conversation:
    return CompletionsChat(target) if target.over_http else SocketChat(target)


async def play(
    target: Target,
    scripts: Sequence[Script],
    ends_at: float,
    on_turn: Callable[[], None] = lambda: None,
) -> list[Part]:
    """Act out all scripts side by side. What is not over at `ends_at` (of `time.perf_counter`) is a fault."""
    stage = _Stage(target, scripts, ends_at, on_turn)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(stage.act(place, script)) for place, script in enumerate(scripts)]
    return [Part(script, task.result()) for script, task in zip(scripts, tasks, strict=True)]


class _Stage:
    """What the scripts of a round share: the moment it began, and who waits for whom."""

    def __init__(
        self, target: Target, scripts: Sequence[Script], ends_at: float, on_turn: Callable[[], None]
    ) -> None:
        self._target = target
        self._began = time.perf_counter()
        self._ends_at = ends_at
        self._on_turn = on_turn
        self._at_once = 0
        self._needed = max(script.after_deltas for script in scripts)
        self._behind = {place for place, script in enumerate(scripts) if not script.after_deltas}
        self._all_run = asyncio.Event()

    async def act(self, place: int, script: Script) -> list[Turn]:
        if script.begins_s is not None:
            await asyncio.sleep(self._began + script.begins_s - time.perf_counter())
        if script.after_deltas:
            await self._all_run.wait()
        if self._at_once >= MOST_AT_ONCE:
            return [self._not_begun("too_many_at_once") for _ in script.lines]
        self._at_once += 1
        try:
            return await self._chat(place, script)
        finally:
            self._at_once -= 1
            self._runs(place)

    async def _chat(self, place: int, script: Script) -> list[Turn]:
        chat = converse(self._target)
        deltas = 0

        def on_delta() -> None:
            nonlocal deltas
            deltas += 1
            if deltas == self._needed:
                self._runs(place)

        turns = []
        try:
            for number, line in enumerate(script.lines):
                arrived = None if number or script.begins_s is None else self._began + script.begins_s
                turns.append(await self._turn(chat, script, line, arrived, on_delta))
        finally:
            await chat.close()
        return turns

    async def _turn(
        self,
        chat: Conversation,
        script: Script,
        line: str,
        arrived: float | None,
        on_delta: Callable[[], None],
    ) -> Turn:
        """A turn, timed from its arrival where it has one, else from when it is sent."""
        turn = Turn(time.perf_counter())
        left_s = self._ends_at - turn.asked_at
        if left_s <= 0:
            return self._not_begun("out_of_time")
        try:
            async with asyncio.timeout(min(left_s, script.ask.timeout_s + script.typed_s(line))):
                await chat.open()
                await asyncio.sleep(script.typed_s(line))
                turn.asked_at = time.perf_counter() if arrived is None else arrived
                await chat.say(line, script.ask, turn, on_delta)
        except Exception as error:  # those of a server get a name, others are raised again
            name_error(turn, error)
            await chat.close()
        if turn.fault is None and not turn.delta_at:
            turn.fail("no_text")
        self._on_turn()
        return turn

    def _not_begun(self, fault: str) -> Turn:
        turn = Turn(time.perf_counter())
        turn.fail(fault)
        self._on_turn()
        return turn

    def _runs(self, place: int) -> None:
        """This script has had its deltas, or has ended: nobody need wait for it."""
        self._behind.discard(place)
        if not self._behind:
            self._all_run.set()
