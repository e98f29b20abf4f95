"""The format that a request wants of its reply, compiled where it keeps nobody waiting."""

from __future__ import annotations

from app.ask import Ask
from app.prompts import translated
from app.workers import HERE_CHARACTERS, Workers
from engine.interface import Engine
from engine.request import EngineError, OutputFormat


async def compiled_format(ask: Ask, engine: Engine, workers: Workers) -> object | None:
    """For `EngineRequest.grammar`. Raises ProtocolError: not a format, not supported, too much waits already."""
    asked = ask.create.format
    if asked is None:
        return None
    wanted = OutputFormat(asked.kind, asked.source, asked.param)

    def compile() -> object:
        try:
            return engine.compile(wanted)
        except EngineError as error:
            raise translated(error, asked.param) from error

    # Never here: a short schema takes 1 ms and the first of all loads the library.
    return await workers.run(ask.principal.tenant, max(len(asked.source), HERE_CHARACTERS + 1), compile)
