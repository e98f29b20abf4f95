"""Fixtures shared by every test."""

from __future__ import annotations

import os

import pytest

# Triton reads it when it is first imported, whoever does that.
os.environ.setdefault("TRITON_INTERPRET", "1")

pytest_plugins = ["tests.needs"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
