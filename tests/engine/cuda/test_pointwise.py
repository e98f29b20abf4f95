from __future__ import annotations

import pytest
import torch

from tests.engine.cuda.kernel_cases import check_gate, check_norm

DTYPES = (torch.float32, torch.float16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 48, 576, 3000])
def test_norms(size: int, dtype: torch.dtype) -> None:
    for summed in (True, False):
        check_norm(size, 3, dtype, "cpu", seed=size, summed=summed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 48, 1536])
def test_gates(size: int, dtype: torch.dtype) -> None:
    for gelu in (True, False):
        check_gate(size, 3, dtype, "cpu", seed=size, gelu=gelu)
