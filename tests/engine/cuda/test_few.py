"""Products of few rows, in Triton's interpreter; `make gpu-test` runs more of the same on a GPU."""

from __future__ import annotations

import pytest
import torch

from engine.cuda.few import Cut, Few, Matrix, cut_for
from tests.engine.cuda.few_cases import check_few, check_few_added, check_few_gated

DTYPES = (torch.float32, torch.float16)


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
@pytest.mark.parametrize("check", [check_few, check_few_gated, check_few_added])
def test_random_shapes(check, rows: int) -> None:  # type: ignore[no-untyped-def]
    for seed in range(4):
        check(rows + 200 * seed, DTYPES[seed % 2], "cpu", rows)


def test_a_sum_is_rounded_as_product_and_sum_would_be() -> None:
    """In bfloat16's stead float16: 2048 + 1.5 is 2050 there if the 1.5 is kept, and with 1.0 beside it 2048."""
    onto = torch.full((1, 2), 2048.0, dtype=torch.float16)
    weight = torch.tensor([[1.0, 2**-11], [1.5, 0.0]]).half()
    Few(cut_for(1)).add(torch.ones(1, 2, dtype=torch.float16), Matrix(weight), onto)
    # 1 + 2**-11 alone is 1 there, and 2049 is 2048: unrounded it would have been 2050.
    assert onto.tolist() == [[2048.0, 2050.0]]


def test_a_row_is_computed_alike_whoever_is_beside_it() -> None:
    torch.manual_seed(3)
    x, matrix = torch.randn(4, 300), Matrix(torch.randn(40, 300))
    alone, beside = (Few(Cut(4)).product(part, matrix, torch.float32) for part in (x[:1], x))
    assert torch.equal(alone, beside[:1])
