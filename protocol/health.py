"""Answers of the health endpoints."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Health(Struct, frozen=True, kw_only=True):
    """The process answers; it looked at nothing else."""

    status: Literal["ok"] = "ok"


class Readiness(Struct, frozen=True, kw_only=True):
    """Whether a turn sent now would be served, and if not, for want of what."""

    status: Literal["ready", "unavailable"]
    engine: Literal["ok", "unavailable"]
    store: Literal["ok", "unavailable"]
    hub: Literal["ok", "draining"]
