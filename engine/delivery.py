"""Handing outputs to whoever asked for them."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from engine.request import Output
from engine.sequence import Sequence

log = logging.getLogger(__name__)


def hand_out(outputs: Iterable[tuple[Sequence, Output]]) -> None:
    """Call each sequence's `deliver`, in order. One that raises is logged and harms nobody else."""
    for sequence, output in outputs:
        try:
            sequence.deliver(output)
        except Exception:
            log_failed_delivery(sequence)


def log_failed_delivery(sequence: Sequence) -> None:
    """Say whose consumer raised the exception being handled."""
    log.exception("deliver_failed id=%s", sequence.request.id)
