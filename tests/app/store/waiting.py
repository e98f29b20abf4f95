"""Waiting for another process, within a bound."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

import anyio


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Poll until the condition holds; fail after 20 s. For what happens in another process, which sets no event."""
    with anyio.fail_after(20):
        while True:
            verdict = condition()
            if await verdict if inspect.isawaitable(verdict) else verdict:
                return
            await asyncio.sleep(0.01)
