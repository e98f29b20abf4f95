"""One closed-loop user: asks, reads the reply to its end, asks again. Times are its own clock's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from websockets.asyncio.client import ClientConnection as Socket
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from loadtest.target import Target
from protocol.client import ClientConnection, ContractBroken

_CONNECT_S: Final = 30.0


@dataclass(slots=True)
class Turn:
    """What one turn took. `fault` is an error's code, or what went wrong with the connection."""

    asked_at: float
    delta_at: list[float] = field(default_factory=list)
    ended_at: float | None = None
    output_tokens: int = 0
    fault: str | None = None

    @property
    def first_text_s(self) -> float | None:
        return self.delta_at[0] - self.asked_at if self.delta_at else None

    @property
    def gaps_s(self) -> list[float]:
        """Between deltas; one delta is a token as a rule, and more where text was held back."""
        return [after - before for before, after in zip(self.delta_at, self.delta_at[1:], strict=False)]


@dataclass(frozen=True, slots=True)
class Ask:
    """How every turn is asked for."""

    max_tokens: int
    ignore_eos: bool = True
    timeout_s: float = 300.0

    def fields(self) -> dict[str, Any]:
        return {
            "max_output_tokens": self.max_tokens,
            "ignore_eos": self.ignore_eos,
            "temperature": 0,
            "store": False,
        }


async def closed_loop(
    target: Target, prompts: Iterable[str], ask: Ask, on_turn: Callable[[], None] = lambda: None
) -> list[Turn]:
    """A turn for each prompt, one after the other on one socket; a broken socket is replaced for the next."""
    turns: list[Turn] = []
    waiting = iter(prompts)
    prompt = next(waiting, None)
    while prompt is not None:
        turn = Turn(time.perf_counter())
        turns.append(turn)
        try:
            async with _connected(target) as socket:
                client = ClientConnection()
                while prompt is not None:
                    turn.asked_at = time.perf_counter()
                    await _take(socket, client, turn, prompt, ask)
                    on_turn()
                    prompt = next(waiting, None)
                    if prompt is not None:
                        turn = Turn(time.perf_counter())
                        turns.append(turn)
        except (ContractBroken, WebSocketException, OSError, TimeoutError) as error:
            turn.fault = _named(error)
            turn.ended_at = None
            on_turn()
            prompt = next(waiting, None)
    return turns


@asynccontextmanager
async def _connected(target: Target) -> AsyncIterator[Socket]:
    async with connect(
        target.url,
        additional_headers={"Authorization": f"Bearer {target.key}"},
        open_timeout=_CONNECT_S,
        compression=None,
        max_size=None,
        proxy=None,
    ) as socket:
        yield socket


async def _take(socket: Socket, client: ClientConnection, turn: Turn, prompt: str, ask: Ask) -> None:
    """Ask and read to the end of the answer. Raises for a broken contract or socket, and at the timeout."""
    async with asyncio.timeout(ask.timeout_s):
        await socket.send(client.create(prompt, **ask.fields()), text=True)
        while True:
            event = client.receive(await socket.recv())
            if event.type == "response.output_text.delta":
                turn.delta_at.append(time.perf_counter())
            elif event.type == "error":
                turn.fault = event.error.code if event.error is not None else "error"
                return
            elif event.terminal:
                assert event.response is not None
                turn.ended_at = time.perf_counter()
                turn.output_tokens = (event.response.usage or {}).get("output_tokens", 0)
                if event.type == "response.failed":
                    turn.fault = "response.failed"
                return


def _named(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ContractBroken):
        return f"contract broken: {error}"
    return f"{type(error).__name__}: {error}"
