from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from engine.cuda import mover
from engine.cuda.mover import PageMover
from engine.cuda.processor import ProcessorDevice
from engine.moves import Moves

PAGES, HOST = 12, 9


def pools_of(dtype: torch.dtype, dim: int, seed: int) -> list[Tensor]:
    """Three layers of any bits, numbers or not; the last with other heads."""
    bits = torch.Generator().manual_seed(seed)
    shapes = [(4, PAGES + 1, 5, dim), (4, PAGES + 1, 5, dim), (2, PAGES + 1, 5, dim)]
    return [
        torch.randint(
            0, 256, (*shape[:3], shape[3] * dtype.itemsize), dtype=torch.uint8, generator=bits
        ).view(dtype)
        for shape in shapes
    ]


def bits_of(pools: list[Tensor], page: int) -> bytes:
    return b"".join(pool[:, page].contiguous().view(torch.uint8).numpy().tobytes() for pool in pools)


@pytest.mark.parametrize(("dtype", "dim"), [(torch.bfloat16, 8), (torch.bfloat16, 3), (torch.float32, 16)])
@pytest.mark.parametrize("at_once", [True, False])
def test_what_comes_back_is_what_left_to_the_bit(
    dtype: torch.dtype, dim: int, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = pools_of(dtype, dim, seed=dim)
    page_bytes = len(bits_of(pools, 0))
    monkeypatch.setattr(mover, "STAGING_BYTES", 3 * page_bytes)
    monkeypatch.setattr(mover, "SLAB_BYTES", 4 * page_bytes)
    carrier = PageMover(pools, HOST, ProcessorDevice())
    assert (carrier.pages, carrier.page_bytes) == (HOST, page_bytes)
    rng = random.Random(dim)
    pages, hosts = rng.sample(range(PAGES), HOST), [0, 1, 2, 7, 5, 6, 3, 4, 8]
    left = [bits_of(pools, page) for page in pages]
    out = list(zip(pages, hosts, strict=True))
    carrier.send(Moves(at_once=out) if at_once else Moves(out=out)).synchronize()
    for pool in pools:
        pool.view(torch.uint8).fill_(255)
    targets = rng.sample(range(PAGES), HOST)
    ended = carrier.send(Moves(back=list(zip(hosts, targets, strict=True))))
    assert ended.query()
    assert [bits_of(pools, page) for page in targets] == left

    assert set(bits_of(pools, PAGES)) == {255}


def test_a_batch_is_carried_out_in_its_order() -> None:
    pools = pools_of(torch.float32, 4, seed=1)
    first, second, third = (bits_of(pools, page) for page in range(3))
    carrier = PageMover(pools, 2, ProcessorDevice())
    carrier.send(Moves(at_once=[(0, 1)], out=[(1, 0)], back=[(1, 1), (0, 0)], copies=[(0, 5), (2, 6)]))
    assert [bits_of(pools, page) for page in (0, 1, 5, 6)] == [second, first, second, third]


def test_its_memory_is_given_back() -> None:
    carrier = PageMover(pools_of(torch.float32, 4, seed=1), 2, ProcessorDevice())
    carrier.close()
    assert (carrier._slabs, carrier._pools, carrier._beside.nbytes) == ([], [], 0)
