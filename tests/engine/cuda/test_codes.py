from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import engine.cuda.codes
from engine.cuda.codes import E4M3, FP8, INT8, decode, encode, scaled_to


@pytest.mark.parametrize("name", [INT8, FP8])
def test_a_matrix_made_in_slabs_of_several_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [torch.randn(rows, 40) * scale for rows, scale in ((7, 1.0), (1, 100.0), (24, 1e-4))]
    whole = encode([torch.cat(parts)], name)
    monkeypatch.setattr(engine.cuda.codes, "_SLAB", 100)
    slabs = encode(iter(parts), name)
    assert torch.equal(slabs.values.view(torch.uint8), whole.values.view(torch.uint8))
    assert torch.equal(slabs.scales, whole.scales)


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False), min_size=1, max_size=9))
def test_numbers_are_as_near_as_their_form_allows(numbers: list[float]) -> None:
    row = torch.tensor([numbers])
    most = row.abs().max()
    for name, steps in ((INT8, 127), (FP8, None)):
        error = (decode(encode([row], name)) - row).abs()
        allowed = most / 254 if steps else torch.maximum(row.abs() / 16, most / 448 / 1024)
        assert bool((error <= allowed * 1.0001 + 1e-37).all())


def test_what_is_zero_stays_zero() -> None:
    values, scales = scaled_to(torch.zeros(2, 3), E4M3)
    assert not values.float().any()
    assert not scales.any()
