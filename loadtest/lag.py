"""How late a server's event loop ran, from the histogram that ours keeps at `/metrics`."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from typing import Final

from loadtest.faults import NotHttp, StreamCut
from loadtest.http_exchange import exchange
from loadtest.target import Target

LAG: Final = "event-loop lag p99 at most ms"
_BUCKET: Final = re.compile(r'^sluice_event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)
_TIMEOUT_S: Final = 10.0

Buckets = Mapping[float, float]
"""Timers that were at most so many seconds late, by that bound, since the server began."""


async def lag_buckets(target: Target) -> Buckets:
    """Empty where the server tells none: every other server."""
    try:
        async with asyncio.timeout(_TIMEOUT_S), exchange(target, "GET", "/metrics") as answer:
            return buckets_of((await answer.whole()).decode(errors="replace"))
    except (OSError, StreamCut, NotHttp):
        return {}


def buckets_of(text: str) -> Buckets:
    return {float(bound): float(count) for bound, count in _BUCKET.findall(text)}


def lag_p99_s(before: Buckets, after: Buckets) -> float | None:
    """A bound that 99 % of the timers between two readings kept; None where there is none, or no timer ran."""
    counts = {bound: count - before.get(bound, 0.0) for bound, count in after.items()}
    total = counts.get(float("inf"), 0.0)
    if not total:
        return None
    bound = min(bound for bound, count in counts.items() if count >= 0.99 * total)
    return bound if math.isfinite(bound) else None
