"""Products with weights in 8 bits, in Triton's interpreter; `make gpu-test` runs more of the same on a GPU."""

from __future__ import annotations

import pytest
import torch

from engine.cuda.codes import FP8, decode, encode
from engine.cuda.processor import ProcessorProducts
from engine.cuda.products import STEPS, TritonProducts, shape_for
from tests.engine.cuda.kernel_cases import close
from tests.engine.cuda.product_cases import check_any_rows, check_product, check_scaled, check_squeezed

DTYPES = (torch.float32, torch.float16)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 16, 33, 130])
def test_products_of_random_shapes(rows: int) -> None:
    for seed in range(3):
        check_any_rows(rows + 200 * seed, DTYPES[seed % 2], "cpu", rows)


@pytest.mark.parametrize("splits", [2, 3, 8])
def test_inputs_in_parts_that_are_put_together(splits: int) -> None:
    for seed in range(3):
        check_product(seed, DTYPES[seed % 2], "cpu", rows=9, splits=splits)


def test_inputs_quantised_in_one_kernel() -> None:
    for seed in range(4):
        check_squeezed(seed, DTYPES[seed % 2], "cpu")


def test_torchs_product_of_fp8_gets_what_it_wants() -> None:
    for seed, rows in enumerate((16, 37)):
        check_scaled(seed, "cpu", rows)


@pytest.mark.parametrize("rows", [4, 20])
def test_the_stand_in_computes_what_a_gpu_would(rows: int) -> None:
    """From 16 rows on inputs are in fp8 on both."""
    torch.manual_seed(rows)
    x = torch.randn(rows, 64).bfloat16()
    codes = encode([torch.randn(48, 64)], FP8)
    found = ProcessorProducts()(x, codes, None, torch.bfloat16)
    close(found, TritonProducts(4)(x, codes, None, torch.bfloat16).double())
    exact = torch.nn.functional.linear(x.float(), decode(codes))
    lost = float((found.float() - exact).norm() / exact.norm())
    assert (lost < 0.01) == (rows == 4)


@pytest.mark.parametrize("rows", [1, 4, 9, 24, 100, 5000])
def test_a_product_is_cut_into_work_for_all_processors(rows: int) -> None:
    for outputs, inputs in ((4096, 14_336), (128_256, 4096), (1024, 2048), (17, 16)):
        shape = shape_for(rows, outputs, inputs, 132)
        assert shape.rows in STEPS
        assert shape.rows >= min(rows, STEPS[-1])
        programs = -(-rows // shape.rows) * -(-outputs // shape.lines) * shape.splits
        assert shape.splits == 1 or programs <= 2 * 132
        assert shape.splits * shape.depth <= inputs or shape.splits == 1
    assert rows not in (9, 24) or shape_for(rows, 4096, 4096, 132).splits == 4
