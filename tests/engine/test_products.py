from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.crew import Crew
from engine.library import LibraryError
from engine.memory import Arena
from engine.products import Packed, Products
from engine.quantized import BITS, dequantize, quantize


@pytest.fixture(scope="module", params=[1, 2, 3])
def products(request: pytest.FixtureRequest, native_dir: Path) -> Products:
    return Products.load(native_dir, Crew.load(native_dir, request.param))


@pytest.mark.native
@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("bits", BITS)
@given(
    rows=st.integers(1, 70) | st.integers(64, 70),
    groups=st.integers(1, 9),
    outputs=st.integers(1, 70),
    biased=st.booleans(),
    seed=st.integers(0, 999),
    spread=st.sampled_from([1e-3, 1.0, 300.0]),
    decoding=st.integers(0, 6),
    outliers=st.integers(0, 4),
)
def test_products_are_those_of_the_dequantised_weights(
    products: Products,
    bits: int,
    rows: int,
    groups: int,
    outputs: int,
    biased: bool,
    seed: int,
    spread: float,
    decoding: int,
    outliers: int,
) -> None:
    products.decoding = decoding
    torch.manual_seed(seed)
    blocks = quantize(torch.randn(outputs, 32 * groups), bits)
    x = torch.randn(rows, 32 * groups) * spread
    x.view(-1)[torch.randint(x.numel(), (x.numel() * outliers // 32,))] *= 500
    bias = torch.randn(outputs) if biased else None
    out = products(x, Packed(blocks, Arena()), bias, torch.float32)
    exact = x.double() @ dequantize(blocks).double().T + (0 if bias is None else bias.double())
    off = (out - exact).abs()
    of_groups = dequantize(blocks).abs().double().view(outputs, groups, 32).sum(-1).T
    reach = x.abs().view(rows, groups, 32).amax(-1).double() @ of_groups
    if decoding or rows < 64:
        # 8 bits round an input by 1 / 254 of its group's greatest at most, 15 bits by a 254th of that.
        allowed = reach / 254 / (254 if decoding <= 4 else 1)
    else:
        # By 1 / 254 of the third of its group's fours, or 15 bits of the first if that is more.
        fours = x.abs().view(rows, groups, 8, 4).amax(-1).sort(descending=True).values.double()
        allowed = torch.maximum(fours[..., 2] / 254, fours[..., 0] / 254 / 128) @ of_groups
    assert bool((off <= allowed + 1e-5 * (reach + 1)).all())


@pytest.mark.native
@pytest.mark.parametrize("rows", [1, 8, 64])
def test_numbers_of_sixteen_bits_go_in_and_come_out(products: Products, rows: int) -> None:
    torch.manual_seed(rows)
    packed = Packed(quantize(torch.randn(50, 96), 4), Arena())
    x = torch.randn(rows, 96).bfloat16()
    wide = products(x.float(), packed, None, torch.float32)
    assert torch.equal(products(x, packed, None, torch.float32), wide)
    assert torch.equal(products(x, packed, None, torch.bfloat16), wide.bfloat16())


@pytest.mark.native
@pytest.mark.parametrize("rows", [3, 66])
def test_a_row_of_zeros_gives_the_bias_and_what_is_no_number_stays_none(
    products: Products, rows: int
) -> None:
    packed, bias = Packed(quantize(torch.randn(20, 64), 4), Arena()), torch.randn(20)
    x = torch.zeros(rows, 64)
    x[1, 3] = float("nan")
    for dtype in (torch.float32, torch.bfloat16):
        out = products(x, packed, bias, dtype)
        assert torch.equal(out[0], bias.to(dtype))
        assert bool(out[1].isnan().all())
        assert torch.equal(out[2], bias.to(dtype))


@pytest.mark.native
@pytest.mark.parametrize("greatest", [1.0, 1e-20, 1e-35, 1e30])
def test_one_input_beside_zeros(products: Products, greatest: float) -> None:
    """Nothing but the fours that are apart sets the scale."""
    blocks = quantize(torch.randn(20, 64), 8)
    x = torch.zeros(64, 64)
    x[torch.arange(64), torch.arange(64)] = greatest
    out = products(x, Packed(blocks, Arena()), None, torch.float32)
    exact = x.double() @ dequantize(blocks).double().T
    torch.testing.assert_close(out.double(), exact, rtol=1e-3, atol=max(greatest * 1e-3, 1e-30))


@pytest.mark.native
def test_a_row_does_not_change_with_its_neighbours(products: Products) -> None:
    packed, x = Packed(quantize(torch.randn(48, 64), 4), Arena()), torch.randn(140, 64)
    together = products(x, packed, None, torch.float32)
    assert torch.equal(products(x[7:77], packed, None, torch.float32), together[7:77])


@pytest.mark.native
def test_inputs_need_not_lie_side_by_side(products: Products) -> None:
    packed, x = Packed(quantize(torch.randn(48, 64), 8), Arena()), torch.randn(3, 128)
    half = x.chunk(2, dim=1)[1]
    expected = products(half.clone(), packed, None, torch.float32)
    assert torch.equal(products(half, packed, None, torch.float32), expected)


def test_without_a_folder_nothing_is_compiled() -> None:
    with pytest.raises(LibraryError, match="name one in native_dir"):
        Products.load(None, Crew(None, 1))
