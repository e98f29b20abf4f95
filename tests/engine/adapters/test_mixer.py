from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.adapters.adapter import Adapter
from engine.adapters.delta import Pair, delta_of
from engine.adapters.mixer import AdaptedLinear, Mixer
from engine.adapters.targets import Site
from engine.batch import Row
from engine.crew import Crew
from engine.linear import BlocksLinear
from engine.products import Products
from engine.quantized import quantize
from tests.engine.tiny_models import GREEDY

SITES = (Site(("q", "k"), 32, (24, 8)), Site(("o",), 32, (16,)))


def adapter(name: str, rank: int, parts: dict[int, tuple[int, ...]], scale: float = 1.0) -> Adapter:
    """parts: by site, which of its parts it changes."""
    content = {}
    for site, changed in parts.items():
        one = SITES[site]
        pairs = {
            part: Pair(torch.randn(rank, one.inputs) * scale, torch.randn(rank, one.outputs[part]))
            for part in changed
        }
        content[site] = delta_of(one, pairs)
    return Adapter(name, name, rank, 0, 0, content)


def row(count: int, chosen: Adapter | None) -> Row:
    return Row(range(count), 0, [0], GREEDY, 0, True, adapter=chosen)


def added(chosen: Adapter | None, site: int, x: Tensor) -> Tensor:
    """What one adapter adds, part by part, in double precision."""
    out = torch.zeros(len(x), sum(SITES[site].outputs), dtype=torch.double)
    if chosen is not None and site in chosen.content:
        for start, pair in chosen.content[site].pairs().items():
            delta = x.double() @ pair.down.double().T @ pair.up.double()
            out[:, start : start + delta.shape[1]] += delta
    return out


@pytest.fixture
def adapters() -> list[Adapter]:
    torch.manual_seed(3)
    kinds: list[tuple[int, dict[int, tuple[int, ...]]]] = [
        (2, {0: (0, 1), 1: (0,)}),
        (5, {0: (1,)}),
        (1, {1: (0,)}),
    ]
    return [adapter(f"{n}", rank, parts) for n, (rank, parts) in enumerate(kinds)]


@pytest.mark.parametrize(
    "rows",
    [
        [(3, 0)],
        [(1, 0), (1, None)],
        [(2, 1), (1, 0), (4, None), (1, 1)],
        [(1, n % 3) for n in range(9)],
        [(1, 2)],
    ],
)
def test_each_row_gets_what_its_adapter_adds_and_no_more(
    adapters: list[Adapter], rows: list[tuple[int, int | None]]
) -> None:
    mixer = Mixer(torch.device("cpu"))
    made = [row(count, None if n is None else adapters[n]) for count, n in rows]
    for _ in range(2):  # the second time from what was kept
        assert mixer.begin(made)
        for site in (0, 1):
            x = torch.randn(sum(count for count, _ in rows), 32)
            out = torch.zeros(len(x), sum(SITES[site].outputs))
            mixer.add(site, x, out)
            parts = x.split([count for count, _ in rows])
            expected = [added(one.adapter, site, part) for one, part in zip(made, parts, strict=True)]
            torch.testing.assert_close(out.double(), torch.cat(expected), rtol=1e-5, atol=1e-5)


def test_a_step_without_adapters_has_nothing_to_add() -> None:
    assert not Mixer(torch.device("cpu")).begin([row(1, None), row(3, None)])


def test_what_overflows_in_one_row_harms_no_other(adapters: list[Adapter]) -> None:
    mixer = Mixer(torch.device("cpu"))
    loud = adapter("loud", 2, {0: (0, 1)}, scale=1e38)
    mixer.begin([row(1, loud), row(1, adapters[0]), row(1, None)])
    x = torch.full((3, 32), 100.0)
    x[0] = float("nan")
    out = torch.zeros(3, 32)
    mixer.add(0, x, out)
    assert not out[0].isfinite().all()
    torch.testing.assert_close(out[1].double(), added(adapters[0], 0, x[1:2])[0], rtol=1e-5, atol=1e-4)
    assert not out[2].any()


def test_a_stack_serves_those_that_remain_and_is_made_anew_when_it_is_mostly_others(
    adapters: list[Adapter],
) -> None:
    mixer = Mixer(torch.device("cpu"))
    mixer.begin([row(1, one) for one in adapters])
    stack = mixer._deltas
    mixer.begin([row(1, adapters[2]), row(1, adapters[0])])
    assert mixer._deltas is stack
    mixer.begin([row(1, adapters[1])])
    assert mixer._deltas is adapters[1].content, "one alone is taken as it is"
    mixer.begin([row(1, adapters[1]), row(1, adapters[2])])
    assert set(mixer._members) == {adapters[1], adapters[2]}


def test_nothing_is_kept_of_what_is_forgotten(adapters: list[Adapter]) -> None:
    mixer = Mixer(torch.device("cpu"))
    mixer.begin([row(1, adapters[0]), row(1, adapters[1])])
    mixer.forget(adapters[2])
    assert mixer._members == adapters[:2]
    mixer.forget(adapters[0])
    assert (mixer._members, mixer._deltas) == ([], {})
    assert mixer.begin([row(1, adapters[1])])


@pytest.mark.native
@pytest.mark.parametrize("bits", [4, 8])
def test_over_weights_in_blocks_the_same_is_added(
    adapters: list[Adapter], native_dir: Path, bits: int
) -> None:
    blocks = quantize(torch.randn(32, 32), bits)
    packed = BlocksLinear(Products.load(native_dir, Crew(None, 1)), blocks, None, torch.float32)
    mixer = Mixer(torch.device("cpu"))
    mixer.begin([row(6, adapters[0])])
    x = torch.randn(6, 32)
    with torch.inference_mode():
        found = AdaptedLinear(packed, 0, mixer)(x) - packed(x)
    torch.testing.assert_close(found.double(), added(adapters[0], 0, x), rtol=1e-4, atol=1e-4)
