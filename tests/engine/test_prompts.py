"""Several tokens of each row attend: the compiled kernel against float64."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.crew import Crew
from engine.prompts import Prompts
from engine.span import Span, prompt_tables_of

pytestmark = [pytest.mark.native, pytest.mark.usefixtures("poisoned")]

SHAPES = ((9, 3, 64), (8, 1, 96), (4, 4, 32), (2, 1, 256))
DTYPES = (torch.float32, torch.bfloat16)


@pytest.fixture(scope="module", params=["pairs", "words"])
def plain(request: pytest.FixtureRequest) -> Iterator[None]:
    """With the processor's products of two bfloat16, where it has them, and without."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "words":
            patch.setattr("engine.prompts._PAIRS", "none")
        yield


@pytest.fixture(scope="module", params=[1, 2, 3])
def prompts(plain: None, request: pytest.FixtureRequest, native_dir: Path) -> Prompts:
    return Prompts.load(native_dir, Crew.load(native_dir, request.param))


def scattered(rows: list[tuple[int, int]], page_tokens: int, pages: Iterator[int]) -> list[Span]:
    """Rows of (start, count) tokens, one after the other."""
    spans: list[Span] = []
    first = 0
    for start, count in rows:
        own = [next(pages) for _ in range(-(-(start + count) // page_tokens))]
        spans.append(Span(first, count, start, own))
        first += count
    return spans


def turned(x: torch.Tensor, turns: torch.Tensor | None) -> torch.Tensor:
    """x: [T, heads, D] in float64."""
    if turns is None:
        return x
    cos, sin = turns.double()[:, :, None].unbind(1)
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin


@settings(deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    dtype=st.sampled_from(DTYPES),
    rows=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 140)), min_size=1, max_size=3),
    page_tokens=st.sampled_from([1, 16, 24]),
    window=st.sampled_from([None, 1, 50, 64]),
    turning=st.booleans(),
    seed=st.integers(0, 99),
)
def test_each_token_sees_what_is_before_it(
    prompts: Prompts,
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    rows: list[tuple[int, int]],
    page_tokens: int,
    window: int | None,
    turning: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    heads, kv_heads, dim = shape
    total = sum(-(-(start + count) // page_tokens) for start, count in rows) + 1
    spans = scattered(rows, page_tokens, iter(torch.randperm(total).tolist()))
    pool = torch.randn(2 * kv_heads, total, page_tokens, dim).to(dtype)
    for span in spans:  # what is not stored yet is no number
        pool.flatten(1, 2)[:, slots(span, page_tokens, span.start)] = torch.nan
    tokens = sum(span.count for span in spans)
    qkv = torch.randn(tokens, heads + 2 * kv_heads, dim).to(dtype)
    angles = torch.randn(tokens, dim // 2)
    cos, sin = angles.cos(), angles.sin()
    turns = torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)), 1) if turning else None
    untouched = pool.clone()
    out = prompts.attend(qkv, turns, pool, prompt_tables_of(spans), dim**-0.5, window)
    exact = turned(qkv[:, : heads + kv_heads].double(), turns)
    tolerance = 5e-6 if dtype == torch.float32 else 2**-6
    for span in spans:
        own = slice(span.first, span.first + span.count)
        kept = slots(span, page_tokens, span.start)[: span.count]
        stored = pool.flatten(1, 2)[:, kept].transpose(0, 1)
        torch.testing.assert_close(
            stored[:, :kv_heads].double(), exact[own, heads:], rtol=tolerance / 2, atol=tolerance / 2
        )
        assert torch.equal(stored[:, kv_heads:], qkv[own, heads + kv_heads :])
        untouched.flatten(1, 2)[:, kept] = pool.flatten(1, 2)[:, kept]
        expected = attended(exact[own, :heads], pool, span, page_tokens, window)
        torch.testing.assert_close(out[own].double(), expected, rtol=tolerance, atol=tolerance)
    assert torch.equal(pool.nan_to_num(7), untouched.nan_to_num(7))


def slots(span: Span, page_tokens: int, first: int) -> torch.Tensor:
    """Where the row's tokens from `first` on lie in the pool, to the end of its pages."""
    places = torch.tensor(span.pages)[:, None] * page_tokens + torch.arange(page_tokens)
    return places.flatten()[first:]


def attended(
    queries: torch.Tensor, pool: torch.Tensor, span: Span, page_tokens: int, window: int | None
) -> torch.Tensor:
    """queries: [T, H, D] in float64 -> [T, H, D]."""
    context = pool.flatten(1, 2)[:, slots(span, page_tokens, 0)[: span.start + span.count]].double()
    keys, values = context.chunk(2)
    grouped = queries.unflatten(1, (len(keys), -1))
    scores = torch.einsum("thgd,hkd->hgtk", grouped, keys) * queries.shape[2] ** -0.5
    behind = torch.arange(span.start, span.start + span.count)[:, None] - torch.arange(context.shape[1])
    hidden = (behind < 0) | (behind >= (window or len(queries) + span.start))
    shares = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    return torch.einsum("hgtk,hkd->thgd", shares, values).flatten(1, 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_how_a_prompt_is_cut_changes_nothing(prompts: Prompts, dtype: torch.dtype) -> None:
    pool = torch.zeros(6, 20, 16, 64).to(dtype)
    qkv = torch.randn(300, 15, 64).to(dtype)
    (whole,) = scattered([(0, 300)], 16, iter(range(20)))
    together = prompts.attend(qkv, None, pool, prompt_tables_of([whole]), 0.125, None)
    for first, end in ((0, 7), (7, 150), (150, 151), (151, 300)):
        part = prompt_tables_of([Span(0, end - first, first, whole.pages)])
        assert torch.equal(prompts.attend(qkv[first:end], None, pool, part, 0.125, None), together[first:end])


def test_a_row_that_is_no_number_harms_no_other(prompts: Prompts) -> None:
    pool = torch.zeros(6, 9, 16, 64)
    qkv = torch.randn(80, 15, 64)
    spans = scattered([(0, 40), (0, 40)], 16, iter(range(9)))
    sound = prompts.attend(qkv, None, pool, prompt_tables_of(spans), 0.125, None)[40:]
    qkv[:40] = torch.nan
    out = prompts.attend(qkv, None, pool, prompt_tables_of(spans), 0.125, None)
    assert torch.equal(out[40:], sound)
    assert bool(out[:40].isnan().all())
