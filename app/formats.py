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
from protocol.requests.tools import Offer


async def compiled_format(
    ask: Ask, engine: Engine, workers: Workers, gone: Callable[[], bool]
) -> object | None:
    """For `EngineRequest.grammar`; `gone` says that nobody waits for it any more.

    Raises ProtocolError: not a format, not supported, too much waits already.
    """
    wanted = _wanted(ask.create, engine)
    if wanted is None:
        return None
    tenant = ask.principal.tenant
    if known := engine.kept(wanted, tenant):
        return known

    def compile() -> object | None:
        if gone():
            return None
        try:
            return engine.compile(wanted, tenant)
        except EngineError as error:
            if _may_do_without(ask.create.offer):
                return None
            raise translated(error, wanted.param) from error

    return await workers.compile(tenant, len(wanted.source), compile)


def _wanted(create: CreateResponse, engine: Engine) -> OutputFormat | None:
    if create.format is not None:
        return OutputFormat(create.format.kind, create.format.source, create.format.param)
    offer = create.offer
    if not offer.open:
        return None
    return calls_format(
        engine.tokenizer.call_syntax,
        [engine_tool(tool) for tool in offer.open],
        forced=offer.forced,
        parallel=offer.parallel and not offer.named,
        param="tool_choice" if offer.forced else "tools",
    )


def _may_do_without(offer: Offer) -> bool:
    """Whether calls are the model's to write well: nothing is forced, and no function is strict."""
    return bool(offer.open) and not offer.forced and not any(tool.strict for tool in offer.open)
