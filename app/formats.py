"""The format that a request wants of its reply, compiled where it keeps nobody waiting."""

from __future__ import annotations

from collections.abc import Callable

from app.ask import Ask
from app.offered import engine_tool
from app.prompts import translated
from app.workers import Workers
from engine.calls.grammar import calls_format
from engine.interface import Engine
from engine.request import EngineError, OutputFormat
from protocol.requests.create import CreateResponse


async def compiled_format(
    ask: Ask, engine: Engine, workers: Workers, gone: Callable[[], bool]
) -> object | None:
    """For `EngineRequest.grammar`; `gone` says that nobody waits for it any more.

    Raises ProtocolError: not a format, not supported, too much waits already.
    """
    wanted = _wanted(ask.create, engine)
    if not wanted:
        return None
    tenant = ask.principal.tenant
    if known := engine.kept(wanted[-1], tenant):
        return known

    def compile() -> object | None:
        grammar = None
        for format in wanted:
            if gone():
                return None
            try:
                grammar = engine.compile(format, tenant)
            except EngineError as error:
                if format.kind != "lark" or not _may_do_without(ask.create):
                    raise translated(error, format.param) from error
        return grammar

    return await workers.compile(tenant, sum(len(format.source) for format in wanted), compile)


def _wanted(create: CreateResponse, engine: Engine) -> list[OutputFormat]:
    """What is to be compiled, the last of them for the request; those before say by their own names what is wrong."""
    text = None
    if create.format is not None:
        text = OutputFormat(create.format.kind, create.format.source, create.format.param)
    formats = [text] if text is not None else []
    if create.offer.open:
        formats.append(_of_calls(create, engine, text))
    return formats


def _of_calls(create: CreateResponse, engine: Engine, text: OutputFormat | None) -> OutputFormat:
    offer = create.offer
    return calls_format(
        engine.tokenizer.call_syntax,
        [engine_tool(tool) for tool in offer.open],
        forced=offer.forced,
        parallel=offer.parallel and not offer.named,
        param="tool_choice" if offer.forced else "tools",
        text=text,
    )


def _may_do_without(create: CreateResponse) -> bool:
    """Whether calls are the model's to write well: nothing is forced, and no function is strict."""
    offer = create.offer
    return not offer.forced and not any(tool.strict for tool in offer.open) and create.format is None
