"""Fixtures shared by every test."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# Triton reads it when it is first imported, whoever does that.
os.environ.setdefault("TRITON_INTERPRET", "1")

pytest_plugins = ["tests.needs"]

# A test is not timed: the machine may be busy.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
