from __future__ import annotations

import pytest
import torch

from engine.norm import Norm


@pytest.mark.parametrize("rows", [1, 2, 9])
@pytest.mark.parametrize(
    ("kept", "given", "tolerance"),
    [
        (torch.float32, torch.float32, 1e-6),
        (torch.bfloat16, torch.bfloat16, 2**-8),
        (torch.float32, torch.bfloat16, 2**-8),
    ],
)
def test_the_product_with_the_reciprocal_root_mean_square(
    rows: int, kept: torch.dtype, given: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(rows)
    weight, x = torch.randn(40).to(kept), (torch.randn(rows, 40) * 7 + 3).to(given)
    exact = x.double() / (x.double().square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight.double()
    out = Norm(weight, 1e-5)(x)
    assert out.dtype == given
    assert out.is_contiguous()
    torch.testing.assert_close(out.double(), exact, rtol=tolerance, atol=1e-6)


def test_a_row_of_zeros_stays_zero() -> None:
    assert not Norm(torch.ones(8), 1e-6)(torch.zeros(2, 8)).any()


def test_a_device_with_a_kernel_of_its_own_uses_that() -> None:
    out = Norm(torch.ones(8, device="meta"), 1e-6)(torch.zeros(2, 8, device="meta"))
    assert out.shape == (2, 8)
