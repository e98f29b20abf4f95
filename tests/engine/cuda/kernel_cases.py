"""The Triton kernels against float64, over random shapes. Imports no test tool, so that a bare GPU machine runs it.

Whatever a kernel should not read is NaN: pages of others, what lies behind a context's end, memory for outputs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.cuda.codes import scaled_to
from engine.cuda.decoding import attend_decoding
from engine.cuda.pointwise import TritonPointwise
from engine.cuda.prefill import attend_prefill, tiles_of
from engine.cuda.store import store
from engine.norm import HeadNorms
from engine.paged_cache import FP8, Pool

HEAD_DIMS = (64, 80, 96, 128, 256)
PAGES = (16, 32, 48, 64)
TOLERANCE = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
SCALE = 0.11


@dataclass(frozen=True, slots=True)
class Case:
    """Rows of so many tokens each, of which prefill computes the last `chunk`."""

    head_dim: int
    kv_heads: int
    group: int
    page_tokens: int
    lengths: tuple[int, ...]
    window: int | None
    softcap: float | None
    splits: int
    seed: int
    fp8: bool = False


def random_case(seed: int, longest: int, rows: int = 3) -> Case:
    rng = random.Random(seed)
    return Case(
        head_dim=rng.choice(HEAD_DIMS),
        kv_heads=rng.randint(1, 3),
        group=rng.randint(1, 8),
        page_tokens=rng.choice(PAGES),
        lengths=tuple(min(longest, int(longest ** rng.random()) + 1) for _ in range(rows)),
        window=rng.choice((None, 1, rng.randint(2, longest))),
        softcap=rng.choice((None, None, 3.0)),
        splits=rng.choice((1, 2, 3, 8)),
        seed=seed,
        fp8=rng.random() < 0.5,
    )


class Scene:
    """Contexts on scattered pages, in float64 too."""

    def __init__(self, case: Case, dtype: torch.dtype, device: str) -> None:
        self.case, self.dtype, self.device = case, dtype, device
        self._random = torch.Generator().manual_seed(case.seed)
        size, widths = case.page_tokens, [-(-length // case.page_tokens) for length in case.lengths]
        total = sum(widths) + 3
        shape = (2 * case.kv_heads, total, size, case.head_dim)
        self.pool = Pool(
            torch.full(shape, float("nan"), dtype=FP8 if case.fp8 else dtype, device=device),
            torch.full(shape[:3], float("nan"), device=device) if case.fp8 else None,
        )
        order = iter(torch.randperm(total, generator=self._random).tolist())
        # Entries behind a context's pages are no pages at all: nobody may follow them.
        self.tables = torch.full((len(widths), max(widths) + 1), 1 << 30, dtype=torch.int32, device=device)
        self.contexts: list[Tensor] = []  # [2 Hkv, L, D] each
        for row, (length, width) in enumerate(zip(case.lengths, widths, strict=True)):
            pages = [next(order) for _ in range(width)]
            self.tables[row, :width] = torch.tensor(pages)
            context = self.values(2 * case.kv_heads, length, case.head_dim)
            self.contexts.append(self._write(pages, context))

    def _write(self, pages: list[int], context: Tensor) -> Tensor:
        """Put a context on its pages. Returns what they hold of it."""
        scales = None
        if self.pool.scales is not None:
            context, scales = scaled_to(context, FP8)
        for place, page in enumerate(pages):
            part = slice(place * self.case.page_tokens, (place + 1) * self.case.page_tokens)
            values = context[:, part]
            self.pool.values[:, page, : values.shape[1]] = values
            if scales is not None:
                self.pool.scales[:, page, : values.shape[1]] = scales[:, part]
        return context if scales is None else context.double() * scales.double()[..., None]

    def values(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._random).to(self.dtype).to(self.device)

    def queries(self, tokens: int) -> Tensor:
        return self.values(tokens, self.case.kv_heads * self.case.group, self.case.head_dim)

    def expected(self, row: int, queries: Tensor) -> Tensor:
        """The last tokens of a row attend. queries: [T, H, D] -> float64 [T, H, D]."""
        case, count, length = self.case, len(queries), self.case.lengths[row]
        keys, values = self.contexts[row].double().chunk(2)
        grouped = queries.double().view(count, case.kv_heads, case.group, case.head_dim)
        scores = torch.einsum("thgd,hnd->thgn", grouped, keys) * SCALE
        if case.softcap is not None:
            scores = case.softcap * torch.tanh(scores / case.softcap)
        stands = torch.arange(length - count, length, device=scores.device)[:, None]
        token = torch.arange(length, device=scores.device)
        hidden = token > stands
        if case.window is not None:
            hidden |= token <= stands - case.window
        shares = scores.masked_fill(hidden[:, None, None], float("-inf")).softmax(-1)
        return torch.einsum("thgn,hnd->thgd", shares, values).reshape(queries.shape)


@contextmanager
def poisoned() -> Iterator[None]:
    """Fresh memory is NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)  # which is what fills it
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def check_decoding(case: Case, dtype: torch.dtype, device: str) -> None:
    scene = Scene(case, dtype, device)
    queries = scene.queries(len(case.lengths) + 1)
    tables = torch.cat((scene.tables, scene.tables[:1]))
    lengths = torch.tensor([*case.lengths, 0], device=device)  # the last row has no context
    with poisoned():
        out = attend_decoding(
            queries, scene.pool, tables, lengths, SCALE, case.window, case.softcap, case.splits
        )
    for row in range(len(case.lengths)):
        near(out[row : row + 1], scene.expected(row, queries[row : row + 1]), case)
    assert not out[-1].any(), case


def check_prefill(case: Case, dtype: torch.dtype, device: str) -> None:
    """Each row's last tokens are computed, a different part of each."""
    scene = Scene(case, dtype, device)
    rng = random.Random(case.seed)
    spans, first = [], 0
    for length in case.lengths:
        count = min(length, rng.choice((1, 17, 130, length)))
        spans.append((first, count, length - count))
        first += count
    queries = scene.queries(first)
    tiles = torch.tensor(tiles_of(spans, case.group), dtype=torch.int32, device=device)
    with poisoned():
        out = attend_prefill(queries, scene.pool, scene.tables, tiles, SCALE, case.window, case.softcap)
    for row, (first, count, _) in enumerate(spans):
        near(out[first : first + count], scene.expected(row, queries[first : first + count]), case)


def check_store(case: Case, dtype: torch.dtype, device: str, *, turned: bool, normed: bool) -> None:
    scene = Scene(case, dtype, device)
    tokens, heads, dim = 5, case.kv_heads * case.group, case.head_dim
    qkv = scene.values(tokens, heads + 2 * case.kv_heads, dim)
    angles = torch.randn(tokens, dim // 2, generator=torch.Generator().manual_seed(1)).to(device)
    cos, sin = angles.cos(), angles.sin()
    turns = torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)), 1)
    places = torch.randperm(scene.pool.values.shape[1] * case.page_tokens)[:tokens].to(device)
    places[2] = -1
    weight = torch.randn(heads + case.kv_heads, dim, generator=torch.Generator().manual_seed(2)).to(device)
    norms = HeadNorms(weight, 1e-5) if normed else None
    given, before = qkv.clone(), [bytes_of(tensor).clone() for tensor in scene.pool if tensor is not None]
    with poisoned():
        query = store(qkv, norms, turns if turned else None, places, scene.pool)
    exact = qkv.double()
    part = exact[:, : heads + case.kv_heads]
    if normed:
        part.mul_((part.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * weight.double())
    if turned:
        cos, sin = turns.double().unbind(1)
        part.copy_(part * cos[:, None] + part.roll(dim // 2, -1) * sin[:, None])
    assert torch.equal(qkv, given)
    near(query, exact[:, :heads], case)
    for place, exact_kv in zip(places.tolist(), exact[:, heads:], strict=True):
        if place >= 0:
            values = scene.pool.values.flatten(1, 2)[:, place]
            if scene.pool.scales is None:
                near(values, exact_kv, case)
            else:
                near_fp8(values, scene.pool.scales.flatten(1, 2)[:, place], exact_kv, dtype)
    kept = [place for place in range(scene.pool.values[0, ..., 0].numel()) if place not in places.tolist()]
    for tensor, was in zip((one for one in scene.pool if one is not None), before, strict=True):
        assert torch.equal(bytes_of(tensor)[:, kept], was[:, kept]), case  # nothing else has changed


def bytes_of(tensor: Tensor) -> Tensor:
    """[2 Hkv, tokens, bytes]."""
    tokens = tensor.shape[1] * tensor.shape[2]
    return tensor.reshape(len(tensor), tokens, -1).view(torch.uint8)


def near_fp8(values: Tensor, scales: Tensor, exact: Tensor, dtype: torch.dtype) -> None:
    """Half of the last digit is what may be lost: a sixteenth, or so much of the smallest number. values: [H, D]."""
    error = (values.double() * scales.double()[:, None] - exact).abs()
    most = exact.abs().amax(-1, keepdim=True)
    allowed = torch.maximum(exact.abs() / 16, most / 448 / 1024)
    assert bool((error <= allowed + TOLERANCE[dtype] * (1 + exact.abs())).all())
    assert bool((scales.double() * 448 - most[:, 0]).abs().le(TOLERANCE[dtype] * (1 + most[:, 0])).all())


def near(found: Tensor, exact: Tensor, case: Case) -> None:
    error = (found.double() - exact).abs() / (1 + exact.abs())
    worst = error.max().item()
    assert worst <= TOLERANCE[found.dtype], (worst, found.dtype, case)


def check_norm(size: int, rows: int, dtype: torch.dtype, device: str, seed: int, *, summed: bool) -> None:
    source = torch.Generator().manual_seed(seed)
    x, more = torch.randn(2, rows, size, generator=source).to(dtype).to(device)
    weight = torch.randn(size, generator=source).to(device)
    whole = (x.float() + more.float()).to(dtype) if summed else x.clone()
    with poisoned():
        out = TritonPointwise.norm(x, more if summed else None, weight, 1e-5)
    assert torch.equal(x, whole)
    exact = whole.double()
    exact = exact * (exact.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * weight.double()
    close(out, exact)


def check_gate(size: int, rows: int, dtype: torch.dtype, device: str, seed: int, *, gelu: bool) -> None:
    both = torch.randn(rows, 2 * size, generator=torch.Generator().manual_seed(seed)) * 4
    both[0, 0], both[1, 0], both[2, 0] = 200.0, -200.0, 0.0
    both = both.to(dtype).to(device)
    gate, up = both.double().chunk(2, -1)
    with poisoned():
        out = TritonPointwise.gate(both, gelu)
    active = functional.gelu(gate, approximate="tanh") if gelu else functional.silu(gate)
    close(out, active * up)


def close(found: Tensor, exact: Tensor) -> None:
    error = ((found.double() - exact).abs() / (1 + exact.abs())).max().item()
    assert error <= TOLERANCE[found.dtype], (error, found.dtype, found.shape)
