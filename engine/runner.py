"""One step of a torch model: rows in, tokens out, keys and values in pages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain, islice
from typing import Final

import torch

from engine.adapters.adapter import Adapter
from engine.attention import StepAttention
from engine.batch import Result, Row, agreed
from engine.config import EngineSettings, ModelError
from engine.models import LoadedModel
from engine.paged_cache import PagedCache, token_bytes
from engine.request import EngineError
from engine.sampler import Choice, sample
from engine.span import Span

_LEAST_PAGES: Final = 2
_GPU_SHARE: Final = 0.8  # the rest is for the steps' own tensors


class TorchRunner:
    """Implements `engine.batch.Runner` for any `LanguageModel`. Not thread-safe."""

    def __init__(self, loaded: LoadedModel, settings: EngineSettings) -> None:
        """Raises ModelError if the memory for keys and values holds no context to speak of."""
        self._model, self._device = loaded.model, loaded.device
        self._crew = loaded.kernels.crew if loaded.kernels else None
        self._page_tokens = settings.page_tokens
        pages = pages_for(loaded, settings, loaded.dtype)
        self._context_tokens = min(loaded.context_tokens, pages * settings.page_tokens)
        self._cache = PagedCache(
            loaded.model.shapes, pages, settings.page_tokens, loaded.dtype, loaded.device, loaded.kernels
        )

    def __repr__(self) -> str:
        return f"<TorchRunner pages={self.pages_total}x{self._page_tokens} device={self._device}>"

    @property
    def page_tokens(self) -> int:
        return self._page_tokens

    @property
    def pages_total(self) -> int:
        return self._cache.pages

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    @property
    def ahead(self) -> int:
        return 0

    @property
    def mover(self) -> None:
        """Its pages are in the host's memory already."""

    def step(self, rows: Sequence[Row]) -> list[Result]:
        """See `Runner.step`. A token id outside the vocabulary fails its own row only."""
        results: list[Result] = [fault_of(row, self._model.vocab) for row in rows]
        sound = [index for index, fault in enumerate(results) if fault is None]
        sound.sort(key=lambda index: _place(rows[index]))
        if sound:
            tokens = self._compute([rows[index] for index in sound])
            for index, token in zip(sound, tokens, strict=True):
                results[index] = token
        return results

    def copy_page(self, source: int, target: int) -> None:
        with torch.inference_mode():
            self._cache.copy(source, target)

    def forget_adapter(self, adapter: Adapter) -> None:
        self._model.mixer.forget(adapter)

    def close(self) -> None:
        """Give the memory back, the weights' too, whoever still holds the engine; no step may follow."""
        self._cache.close()
        if self._crew is not None:
            self._crew.close()
        if hasattr(self, "_model"):
            del self._model

    @torch.inference_mode()
    def _compute(self, rows: Sequence[Row]) -> list[Result]:
        spans = _spans(rows)
        positions = torch.tensor(list(chain.from_iterable(map(positions_of, rows))), device=self._device)
        slots = torch.tensor(slots_of(rows, self._page_tokens), device=self._device)
        if entered := self._entered(rows):
            self._cache.clear(torch.tensor(entered, device=self._device))
        chosen = [
            index
            for span, row in zip(spans, rows, strict=True)
            for index in range(span.first + span.count - row.chooses, span.first + span.count)
        ]
        logits = self._model.forward(
            torch.tensor(list(chain.from_iterable(row.tokens for row in rows)), device=self._device),
            positions,
            StepAttention(self._cache, spans, slots),
            torch.tensor(chosen, dtype=torch.long, device=self._device),
            self._model.mixer.begin(rows),
        )
        if not chosen:
            return [None] * len(rows)
        tokens = iter(sample(logits, [choice for row in rows for choice in choices_of(row)]))
        return [result_of(row, list(islice(tokens, row.chooses))) for row in rows]

    def _entered(self, rows: Sequence[Row]) -> list[int]:
        """The pages whose first token is written in this step."""
        size = self._page_tokens
        return [
            row.pages[page]
            for row in rows
            for page in range(-(-row.start // size), (row.start + len(row.tokens) - 1) // size + 1)
        ]


def pages_for(loaded: LoadedModel, settings: EngineSettings, dtype: torch.dtype) -> int:
    """How many pages the settings' memory holds, no more than all running sequences could fill."""
    each = token_bytes(loaded.model.shapes, dtype)
    kv_bytes = settings.kv_bytes or suggested_kv_bytes(loaded, each)
    affordable = kv_bytes // (each * settings.page_tokens)
    if affordable < _LEAST_PAGES:
        raise ModelError(
            f"kv_bytes={kv_bytes} holds {affordable} pages of {settings.page_tokens} tokens "
            f"({each} bytes each); raise it or choose a smaller model"
        )
    fillable = settings.max_running * -(-loaded.context_tokens // settings.page_tokens)
    return max(_LEAST_PAGES, min(affordable, fillable))


def suggested_kv_bytes(loaded: LoadedModel, token_bytes: int) -> int:
    """On a GPU most of what the weights left free; elsewhere 1 GiB, or a whole context if memory allows it.

    Memory of the processor is touched page by page, so an idle server does not pay for it.
    """
    if loaded.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(loaded.device)
        return int(free * _GPU_SHARE)
    quarter = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    return min(quarter, max(1 << 30, loaded.context_tokens * token_bytes))


def _place(row: Row) -> tuple[bool, bool, int]:
    """The order that the attention wants: decode rows first, shortest first."""
    tokens = len(row.tokens)
    return tokens > 1 + row.guesses, tokens > 1, row.start


def _spans(rows: Sequence[Row]) -> list[Span]:
    spans: list[Span] = []
    first = 0
    for row in rows:
        spans.append(Span(first, len(row.tokens), row.start, row.pages, row.guesses))
        first += len(row.tokens)
    return spans


def fault_of(row: Row, vocab: int) -> EngineError | None:
    """What keeps a row from being computed at all."""
    if min(row.tokens) >= 0 and max(row.tokens) < vocab:
        return None
    return EngineError("invalid_value", f"a token id is outside the vocabulary of {vocab} tokens")


def positions_of(row: Row) -> range:
    return range(row.start, row.start + len(row.tokens))


def slots_of(rows: Sequence[Row], page_tokens: int) -> list[int]:
    """Where each token's keys and values go in the pools, all rows' one after the other."""
    return [
        row.pages[position // page_tokens] * page_tokens + position % page_tokens
        for row in rows
        for position in positions_of(row)
    ]


def choices_of(row: Row) -> list[Choice]:
    """How the tokens behind its last ones are chosen, as many as it chooses."""
    end = row.start + len(row.tokens) + 1
    return [
        Choice(row.sampling, row.seed, position, row.shaping) for position in range(end - row.chooses, end)
    ]


def result_of(row: Row, sampled: list[int | Exception]) -> Result:
    if row.guesses:
        return agreed(row, sampled)
    return sampled[0] if sampled else None
