"""The decode step as graphs: one for the model and one for each way to choose, at every size of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from engine.cuda.attention import DecodeAttention, Kernels
from engine.cuda.choice import Kind, choose
from engine.cuda.device import Device, Work
from engine.cuda.state import BatchState
from engine.models import LanguageModel
from engine.paged_cache import Pool


class Replays:
    """All graphs of a runner. Each takes the batch from its state and leaves it there for the next."""

    def __init__(
        self,
        model: LanguageModel,
        pools: Sequence[Pool],
        state: BatchState,
        device: Device,
        kernels: Kernels,
        buckets: Sequence[int],
    ) -> None:
        """`buckets`: the sizes, rising. While the graphs are made no slot may be alive."""
        self._model, self._pools, self._state, self._kernels = model, pools, state, kernels
        place = device.torch
        self.logits = torch.zeros(buckets[-1], model.vocab, device=place)  # of the latest replay
        self._rows = torch.arange(buckets[-1], device=place)
        # The largest first: the others fit into the memory that it took.
        sizes = buckets[::-1]
        self._models: dict[int, Work] = {rows: device.capture(partial(self._compute, rows)) for rows in sizes}
        self._choices: dict[tuple[int, Kind], Work] = {
            (rows, kind): device.capture(partial(self._choose, rows, kind)) for rows in sizes for kind in Kind
        }

    def launch(self, rows: int, kind: Kind) -> None:
        """Send the next step of the first `rows` slots, one of the buckets."""
        self._models[rows]()
        self._choices[rows, kind]()

    def _compute(self, rows: int) -> None:
        state = self._state
        attention = DecodeAttention(
            self._kernels, self._pools, state.tables[:rows], state.lengths(rows), state.places(rows)
        )
        logits = self._model.forward(state.ids[:rows], state.positions[:rows], attention, self._rows[:rows])
        self.logits[:rows] = logits

    def _choose(self, rows: int, kind: Kind) -> None:
        state = self._state
        logits, positions = self.logits[:rows], state.positions[:rows] + 1
        if kind is Kind.SHAPED:
            logits = state.shaped.apply(logits, positions)
        tokens = choose(logits, state.wishes.first(rows), positions, kind)
        if kind is Kind.SHAPED:
            state.shaped.follow(tokens)
        state.advance(rows, tokens)
