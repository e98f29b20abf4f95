from __future__ import annotations

import pytest
import torch

from engine.linear import PackedLinear, PlainLinear, linear


@pytest.mark.parametrize("kind", [PackedLinear, PlainLinear])
@pytest.mark.parametrize("rows", [1, 2, 7, 33])
@pytest.mark.parametrize("biased", [False, True])
def test_products_agree_whatever_the_packing(
    kind: type[PackedLinear] | type[PlainLinear], rows: int, biased: bool
) -> None:
    torch.manual_seed(rows)
    weight, x = torch.randn(96, 40), torch.randn(rows, 40)
    bias = torch.randn(96) if biased else None
    with torch.inference_mode():
        out = kind(weight, bias)(x)
    expected = x.double() @ weight.double().T + (0 if bias is None else bias.double())
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)


def test_weights_are_packed_where_that_is_known_to_be_right() -> None:
    assert isinstance(linear(torch.zeros(4, 4)), PackedLinear)
    assert isinstance(linear(torch.zeros(4, 4, dtype=torch.float16)), PlainLinear)
    assert isinstance(linear(torch.zeros(4, 4, device="meta")), PlainLinear)
    assert linear(torch.zeros(4, 4, dtype=torch.bfloat16))(torch.zeros(2, 4, dtype=torch.bfloat16)).shape == (
        2,
        4,
    )
