from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def native_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run's compiled kernels are."""
    return tmp_path_factory.mktemp("native")


@pytest.fixture(scope="module")
def poisoned() -> Iterator[None]:
    """Memory that torch gives and nobody writes to holds what is no number."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
