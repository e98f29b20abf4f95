"""The server with an engine that says the time: one step for all sequences, each delta the moment of its step.

`python -m loadtest hub` measures with it how old deltas are when they reach a client. It takes the settings
of `sluice serve`; `SLUICE_SCRIPTED_TOKENS_PER_S` is the pace.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from app.config import Config
from app.load_config import load_config
from app.main import create_app, running
from app.server import bind, make_server, serve
from engine.adapters.files import checked_adapter
from engine.adapters.store import AdapterLimits, AdapterStore
from engine.interface import EngineStats, ModelInfo
from engine.request import Deliver, Draft, EngineRequest, Finished, FinishReason, OutputFormat, Started, Usage
from engine.scripted_tokenizer import ScriptedTokenizer
from loadtest.raw import moment


class Metronome:
    """An engine whose every token is the monotonic clock at its step; replies last until they are cancelled."""

    def __init__(self, steps_per_s: float) -> None:
        self._interval_s = 1 / steps_per_s
        self._live: dict[str, tuple[Deliver, int]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = 0.0
        self._steps = 0
        self._ids = ScriptedTokenizer()
        self._adapters = AdapterStore(checked_adapter, AdapterLimits(count=0))

    @property
    def model(self) -> ModelInfo:
        return ModelInfo("metronome", 0, 131_072)

    @property
    def tokenizer(self) -> ScriptedTokenizer:
        return self._ids

    @property
    def adapters(self) -> AdapterStore:
        return self._adapters

    @property
    def ready(self) -> bool:
        return self._loop is not None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due = loop.time()
        self._step()

    def submit(self, request: EngineRequest, deliver: Deliver) -> None:
        assert self._loop is not None
        self._live[request.id] = (deliver, len(request.prompt_ids))
        self._loop.call_soon(deliver, Started(0))

    def kept(self, format: OutputFormat, salt: str = "") -> object | None:
        return None

    def compile(self, format: OutputFormat, salt: str = "") -> object:
        return None  # it says the time, whatever is asked

    def cancel(self, request_id: str) -> None:
        if request_id in self._live and self._loop is not None:
            self._loop.call_soon(self._finish, request_id)

    def commit(self, request_id: str, released: Sequence[int]) -> None: ...

    def prefill(self, draft: Draft) -> None: ...

    def forget(self, draft_id: str, salt: str = "") -> None: ...

    def stats(self) -> EngineStats:
        return EngineStats(running=len(self._live), steps=self._steps)

    async def drain(self, timeout_s: float) -> None:
        await self.close()

    async def close(self) -> None:
        for request_id in list(self._live):
            self._finish(request_id)

    def _finish(self, request_id: str) -> None:
        if request_id in self._live:
            deliver, prompt = self._live.pop(request_id)
            deliver(Finished(FinishReason.CANCELLED, Usage(input=prompt)))

    def _step(self) -> None:
        assert self._loop is not None
        self._due += self._interval_s
        self._loop.call_at(self._due, self._step)
        self._steps += 1
        delta = moment(time.monotonic_ns())
        for deliver, _ in list(self._live.values()):
            deliver(delta)


async def _serve(config: Config, listener: socket.socket) -> None:
    async def announce(port: int) -> None:
        print(f"The metronome ticks at http://127.0.0.1:{port}/v1", flush=True)

    async with running(config, Metronome(config.scripted_tokens_per_s)) as (service, _):
        await serve(make_server(config, create_app(service)), service, listener, announce)


def main() -> None:
    """Serve until a signal."""
    config = load_config(sys.argv[1:], os.environ, Path.cwd())
    with bind(config) as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, listener))


if __name__ == "__main__":
    main()
