from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def native_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run's compiled kernels are."""
    return tmp_path_factory.mktemp("native")
