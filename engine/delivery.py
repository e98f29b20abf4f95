"""Handing outputs to whoever asked for them."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from engine.request import Deliver, Output

log = logging.getLogger(__name__)


def hand_out(outputs: Iterable[tuple[Deliver, Output]]) -> None:
    """Call each `deliver` in order. One that raises is logged and harms nobody else."""
    for deliver, output in outputs:
        try:
            deliver(output)
        except Exception:
            log_failed_delivery()


def log_failed_delivery() -> None:
    log.exception("deliver_failed")
