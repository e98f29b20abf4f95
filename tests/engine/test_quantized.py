from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.quantized import BITS, GROUP, Blocks, dequantize, join, quantizable, quantize


def weights(outputs: int, groups: int, seed: int, spread: float) -> Tensor:
    torch.manual_seed(seed)
    scales = torch.rand(outputs, groups, 1) * spread + 1e-3
    return (torch.randn(outputs, groups, GROUP) * scales).flatten(1)


MATRICES = st.builds(
    weights, st.integers(1, 40), st.integers(1, 5), st.integers(0, 999), st.floats(0.001, 100.0)
)


@pytest.mark.parametrize("bits", BITS)
@given(weight=MATRICES)
def test_no_weight_is_further_off_than_half_a_step(bits: int, weight: Tensor) -> None:
    groups = weight.view(len(weight), -1, GROUP)
    reach = groups.abs().amax(-1, keepdim=True)
    step = reach / 127 if bits == 8 else (groups.amax(-1, keepdim=True) - groups.amin(-1, keepdim=True)) / 15
    off = (dequantize(quantize(weight, bits)).view_as(groups) - groups).abs()
    # Scales of 11 bits let the ends of the range miss a little more.
    assert bool((off <= 0.5 * step + reach * 2**-10 + 1e-6).all())


@pytest.mark.parametrize("bits", BITS)
@given(weight=MATRICES)
def test_what_is_in_blocks_already_stays_nearly_as_it_is(bits: int, weight: Tensor) -> None:
    once = dequantize(quantize(weight, bits))
    assert float((dequantize(quantize(once, bits)) - once).norm()) <= 2e-3 * float(once.norm())


@pytest.mark.parametrize("bits", BITS)
def test_a_group_of_equal_weights_is_kept(bits: int) -> None:
    weight = torch.zeros(3, 64)
    weight[1] = 0.5
    torch.testing.assert_close(dequantize(quantize(weight, bits)), weight, rtol=1e-3, atol=0)


def test_codes_lie_as_ggufs_do() -> None:
    codes = torch.arange(16, dtype=torch.uint8).repeat(1, 1, 1) | (15 << 4)
    values = dequantize(Blocks(4, codes, torch.tensor([[[2.0, -1.0]]], dtype=torch.float16)))
    assert values.tolist() == [[2.0 * code - 1.0 for code in [*range(16), *[15] * 16]]]


def test_matrices_are_joined_one_below_the_other() -> None:
    first, second = (quantize(torch.randn(rows, 64), 4) for rows in (3, 5))
    both = join([first, second])
    assert (both.outputs, both.inputs) == (8, 64)
    assert torch.equal(dequantize(both), torch.cat((dequantize(first), dequantize(second))))


def test_inputs_come_in_whole_groups() -> None:
    assert quantizable(torch.zeros(3, 96))
    assert not quantizable(torch.zeros(96, 40))
