"""The runner for a GPU: decode steps are replays of graphs, several of them on their way; chunks run between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import accumulate, chain, islice

import torch
from torch import Tensor

from engine.adapters.adapter import Adapter
from engine.batch import DeviceLost, Result, Row
from engine.config import EngineSettings, ModelError
from engine.cuda.attention import ChunkAttention, Kernels
from engine.cuda.choice import BROKEN, UNDECIDED
from engine.cuda.device import Device, Pending
from engine.cuda.mover import PageMover
from engine.cuda.replays import Replays
from engine.cuda.shaped import on_device
from engine.cuda.slots import BUCKETS, Slots
from engine.cuda.state import BatchState
from engine.form import kv_dtype_of
from engine.models import LoadedModel
from engine.paged_cache import PagedCache
from engine.request import Sampling
from engine.runner import choices_of, fault_of, pages_for, positions_of, result_of, slots_of
from engine.sampler import broken, sample


class GraphRunner:
    """Implements `engine.batch.Runner`. Not thread-safe.

    A step's decode rows have their tokens from the oldest replay that is on its way; before it is waited for, others
    are sent after it, up to `ahead`. Rows that the device cannot finish by itself (a format, log probabilities, filters
    that leave more than its candidates) get their tokens here.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        settings: EngineSettings,
        device: Device,
        kernels: Kernels,
        ahead: int = 1,
    ) -> None:
        """Raises ModelError if the memory for keys and values holds no context to speak of, or no graph can be made."""
        self._model, self._device, self._kernels, self._ahead = loaded.model, device, kernels, ahead
        dtype = kv_dtype_of(settings.kv_dtype, loaded.dtype)
        size, pages = settings.page_tokens, pages_for(loaded, settings, dtype)
        self._context_tokens = min(loaded.context_tokens, pages * size)
        self._cache = PagedCache(loaded.model.shapes, pages, size, dtype, device.torch)
        self._most = min(settings.max_running, BUCKETS[-1])
        self._slots = Slots(self._most, size)
        self._state = BatchState(
            device, self._most, -(-self._context_tokens // size), size, self._model.vocab
        )
        self._on_way: deque[Pending] = deque()
        self._mover = _mover(self._cache, settings.host_kv_bytes, device)
        with torch.inference_mode():
            self._replays = self._graphs()
            self._read_something()

    def __repr__(self) -> str:
        return f"<GraphRunner pages={self.pages_total}x{self.page_tokens} {self._slots}>"

    @property
    def page_tokens(self) -> int:
        return self._cache.page_tokens

    @property
    def pages_total(self) -> int:
        return self._cache.pages

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    @property
    def ahead(self) -> int:
        return self._ahead

    @property
    def mover(self) -> PageMover | None:
        return self._mover

    @torch.inference_mode()
    def step(self, rows: Sequence[Row]) -> list[Result]:
        """See `Runner.step`. A token id outside the vocabulary fails its own row only."""
        try:
            return self._step(rows)
        except Exception as error:
            self._slots.clear()  # nobody knows how far the device got
            self._on_way.clear()
            if not self._device.works():
                raise DeviceLost(f"the GPU has stopped working ({error})") from error
            raise

    def copy_page(self, source: int, target: int) -> None:
        with torch.inference_mode():
            self._cache.copy(source, target)

    def forget_adapter(self, adapter: Adapter) -> None:
        self._model.mixer.forget(adapter)

    def close(self) -> None:
        """Give the memory back, the weights' too, whoever still holds the engine; no step may follow."""
        if hasattr(self, "_model"):
            del self._model, self._replays, self._state
        if self._mover is not None:
            self._mover.close()
        self._on_way.clear()
        self._cache.close()

    def _graphs(self) -> Replays:
        try:
            return Replays(
                self._model,
                self._cache.layers,
                self._state,
                self._device,
                self._kernels,
                self._slots.buckets,
            )
        except torch.OutOfMemoryError:
            raise
        except (
            RuntimeError
        ) as error:  # modules that look at their own numbers, as some ways to turn positions do
            raise ModelError(
                f"This model's decode step cannot be made a graph of this GPU ({error}). Choose another model, or "
                "SLUICE_DEVICE=cpu"
            ) from error

    def _step(self, rows: Sequence[Row]) -> list[Result]:
        patches = self._slots.go_on(rows)
        if patches is not None and rows:
            self._state.apply(patches)
            self._launch(mixed=False)
            return self._receive(rows)
        results = self._faults(rows)
        decodes, chunks = self._parted(rows, results)
        mine = [rows[index] for index in decodes]
        self._send(mine, mixed=bool(chunks))
        self._fill(results, rows, chunks)
        if decodes:
            for index, result in zip(decodes, self._receive(mine), strict=True):
                results[index] = result
        return results

    def _read_something(self) -> None:
        """Compile what prompts need, which would hold up the first one for seconds. The pages are nobody's yet."""
        self._fill([None], [Row([0, 0], 0, [0, 1], Sampling(temperature=0), 0, True)], [0])

    def _faults(self, rows: Sequence[Row]) -> list[Result]:
        """What keeps a row from being computed. Nearly all have one token, which is looked at without a call."""
        vocab = self._model.vocab
        return [
            None if len(row.tokens) == 1 and 0 <= row.tokens[0] < vocab else fault_of(row, vocab)
            for row in rows
        ]

    def _parted(self, rows: Sequence[Row], results: list[Result]) -> tuple[list[int], list[int]]:
        """The sound rows that replays serve, and the others."""
        decodes: list[int] = []
        chunks: list[int] = []
        for index, row in enumerate(rows):
            if results[index] is None:
                plain = len(row.tokens) == 1 and row.sample and row.adapter is None
                (decodes if plain and len(decodes) < self._most else chunks).append(index)
        return decodes, chunks

    def _send(self, rows: Sequence[Row], *, mixed: bool) -> None:
        """See that the rows' next tokens are on their way."""
        _, patches = self._slots.arrange(rows)
        if not self._slots.ahead:
            self._on_way.clear()
        self._state.apply(patches)
        if rows:
            self._launch(mixed=mixed)

    def _launch(self, *, mixed: bool) -> None:
        """None run ahead while prompts are computed: they would hold up the newcomer, and be dropped when it joins."""
        wanted = 1 + self._ahead if self._slots.plain and not mixed else 1
        while not self._on_way or (len(self._on_way) < wanted and self._slots.can_advance):
            self._replays.launch(self._slots.bucket, self._slots.kind)
            self._on_way.append(self._device.fetch(self._state.tokens))
            self._slots.launched()

    def _receive(self, rows: Sequence[Row]) -> list[Result]:
        """Wait for the oldest replay, which has computed all of them."""
        chosen, places = self._on_way.popleft().wait(), self._slots.latest
        tokens = [chosen[place] for place in places]
        whole = self._slots.arrived(tokens)
        results: list[Result] = [*tokens]
        if not (whole and self._slots.plain):
            self._finish(results, rows, tokens, places)
        return results

    def _finish(
        self, results: list[Result], rows: Sequence[Row], tokens: list[int], places: list[int]
    ) -> None:
        """See to those that the device could not finish."""
        shaped: list[int] = []
        again: list[int] = []
        for index, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            if _is_shaped_here(row):
                shaped.append(index)
            elif token == UNDECIDED:
                again.append(index)
            elif token == BROKEN:
                results[index] = broken()
        if shaped:
            logits = self._replays.logits[[places[index] for index in shaped]]
            self._sample(results, rows, shaped, logits)
        self._fill(results, rows, again)

    def _fill(self, results: list[Result], rows: Sequence[Row], indices: list[int]) -> None:
        """Compute rows of any length outside of the graphs."""
        if not indices:
            return
        mine = [rows[index] for index in indices]
        tokens = list(chain.from_iterable(row.tokens for row in mine))
        positions = list(chain.from_iterable(map(positions_of, mine)))
        whole = self._device.send(torch.tensor([tokens, positions, slots_of(mine, self.page_tokens)]))
        ends = accumulate(len(row.tokens) for row in mine)
        chosen = list(
            chain.from_iterable(range(end - row.chooses, end) for end, row in zip(ends, mine, strict=True))
        )
        logits = self._model.forward(
            whole[0],
            whole[1],
            ChunkAttention(self._kernels, self._cache.layers, mine, whole[2], self._device),
            self._device.send(torch.tensor(chosen, dtype=torch.long)),
            self._model.mixer.begin(mine),
        )
        self._sample(results, rows, indices, logits)

    def _sample(self, results: list[Result], rows: Sequence[Row], indices: list[int], logits: Tensor) -> None:
        """logits: those of all tokens that choose a next one."""
        choices = [choice for index in indices for choice in choices_of(rows[index])]
        tokens = iter(sample(logits, choices) if choices else [])
        for index in indices:
            results[index] = result_of(rows[index], list(islice(tokens, rows[index].chooses)))


def _is_shaped_here(row: Row) -> bool:
    """Whether its token is chosen by the processor, from what the device computed."""
    return row.shaping is not None and not on_device(row.shaping)


def _mover(cache: PagedCache, memory_bytes: int, device: Device) -> PageMover | None:
    """To so much memory of the host; None where that has no page."""
    pages = memory_bytes // sum(pool[:, 0].nbytes for pool in cache.tensors)
    return PageMover(cache.tensors, pages, device) if pages else None
