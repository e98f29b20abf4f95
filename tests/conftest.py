"""Fixtures shared by every test."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.needs"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
