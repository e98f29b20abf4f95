"""The Triton kernels in Triton's interpreter; `make gpu-test` runs more of the same on a GPU."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from engine.cuda.decoding import splits_for
from engine.cuda.prefill import tiles_of
from tests.engine.cuda.kernel_cases import (
    HEAD_DIMS,
    Case,
    check_decoding,
    check_prefill,
    check_store,
    random_case,
)

# The interpreter computes in numpy, which has no bfloat16.
DTYPES = (torch.float32, torch.float16)


@pytest.mark.parametrize("seed", range(12))
def test_decoding_of_random_shapes(seed: int) -> None:
    check_decoding(random_case(seed, 400), DTYPES[seed % 2], "cpu")


@pytest.mark.parametrize("seed", range(8))
def test_prefill_of_random_shapes(seed: int) -> None:
    check_prefill(random_case(100 + seed, 200), DTYPES[seed % 2], "cpu")


@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("head_dim", HEAD_DIMS)
def test_store_of_random_shapes(head_dim: int, turned: bool, normed: bool) -> None:
    case = replace(random_case(head_dim + normed, 50), head_dim=head_dim)
    check_store(case, DTYPES[turned], "cpu", turned=turned, normed=normed)


def test_a_long_context_in_many_splits() -> None:
    case = Case(64, 1, 3, 16, (4097, 1, 128), None, None, 16, 1)
    check_decoding(case, torch.float32, "cpu")
    check_decoding(replace(case, window=1000, page_tokens=48), torch.float32, "cpu")


def test_a_chunk_behind_a_long_context() -> None:
    check_prefill(Case(64, 1, 2, 16, (1200, 17), 100, None, 1, 3), torch.float32, "cpu")


@pytest.mark.fuzz
@pytest.mark.parametrize("part", range(8))
def test_any_shape(part: int, fuzz_cases: int) -> None:
    for seed in range(part, max(8, fuzz_cases // 1000), 8):
        case = random_case(seed, 4097, rows=2)
        check_decoding(case, DTYPES[seed % 2], "cpu")
        check_prefill(random_case(seed, 300), DTYPES[seed % 2], "cpu")


def test_tiles_cover_every_token_once() -> None:
    rng = random.Random(2)
    for group in range(1, 9):
        counts = [rng.choice((1, 16, 63, 64, 65, 500)) for _ in range(5)]
        spans = [(sum(counts[:row]), count, 10 * row) for row, count in enumerate(counts)]
        covered = []
        for first, count, position, row in tiles_of(spans, group):
            assert position - spans[row][2] == first - spans[row][0]
            covered += range(first, first + count)
        assert covered == list(range(sum(counts)))


def test_splits_fill_a_device_and_no_more() -> None:
    assert splits_for(rows=256, kv_heads=8, context_tokens=8192, processors=132) == 1
    assert splits_for(rows=1, kv_heads=8, context_tokens=100, processors=132) == 1
    assert splits_for(rows=1, kv_heads=8, context_tokens=131_072, processors=132) == 64
    assert splits_for(rows=8, kv_heads=8, context_tokens=8192, processors=132) == 9
