"""Which model a server has, for requests that must name one."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec
from msgspec import Struct

from loadtest.faults import NotHttp, StreamCut, http_fault
from loadtest.http_exchange import exchange
from loadtest.target import Target, TargetError


class _Model(Struct):
    id: str


class _Models(Struct):
    data: list[_Model]


async def with_model(target: Target, timeout_s: float = 60.0) -> Target:
    """The target with the model that its server names first, unless it has one. Raises TargetError without one."""
    if target.model or not target.over_http:
        return target
    try:
        async with (
            asyncio.timeout(timeout_s),
            exchange(target, "GET", f"{target.path}/models") as answer,
        ):
            status, body = await answer.status(), await answer.whole()
    except TimeoutError:
        raise TargetError(f"{target.url}/models was not answered within {timeout_s:g} s") from None
    except (OSError, StreamCut, NotHttp) as error:
        raise TargetError(f"{target.url} does not answer: {error or type(error).__name__}") from None
    if status != 200:
        raise TargetError(f"{target.url}/models: {': '.join(http_fault(status, body))}")
    try:
        (first, *_) = msgspec.json.decode(body, type=_Models).data
    except (msgspec.MsgspecError, ValueError):
        raise TargetError(f"{target.url}/models names no model: add ?model=NAME to the address") from None
    return replace(target, model=first.id)
