from __future__ import annotations

import mmap

import pytest
import torch

from engine.memory import Arena


@pytest.mark.parametrize("large_pages", [True, False])
def test_tensors_kept_side_by_side(large_pages: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not large_pages:  # as on systems that know none
        monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    arena = Arena()
    given = [torch.arange(7, dtype=torch.int32).view(7, 1), torch.rand(3, 50), torch.rand(4).half()]
    kept = [arena.keep(tensor) for tensor in given]
    for tensor, copy in zip(given, kept, strict=True):
        assert torch.equal(copy, tensor)
        assert copy.data_ptr() % 64 == 0
        assert copy.data_ptr() != tensor.data_ptr()
    assert kept[1].data_ptr() - kept[0].data_ptr() == 64


def test_more_tensors_than_a_chunk_holds() -> None:
    arena = Arena()
    given = [torch.full((20 << 20,), number, dtype=torch.uint8) for number in range(4)]
    for number, kept in enumerate([arena.keep(tensor) for tensor in given]):
        assert kept[0] == kept[-1] == number


def test_a_tensor_larger_than_a_chunk_and_nothing() -> None:
    arena = Arena()
    assert len(arena.keep(torch.empty(0))) == 0
    large = torch.ones(65 << 20, dtype=torch.uint8)
    assert arena.keep(large).sum() == len(large)
    assert arena.keep(torch.tensor([5])) == 5
