"""Fixtures shared by every test."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Triton reads it when it is first imported, whoever does that.
os.environ.setdefault("TRITON_INTERPRET", "1")

pytest_plugins = ["tests.needs"]

# A test is not timed: the machine may be busy.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="module", autouse=True)
def memory_given_back() -> Iterator[None]:
    """glibc keeps what models took: 1 GB after the default one's tests, in each worker until its end."""
    yield
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
