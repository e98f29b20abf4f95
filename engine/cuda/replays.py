"""The decode step as graphs: one for the model and one for each way to choose, at every size of the batch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import torch
from torch import Tensor

from engine.attending import Attending
from engine.cuda.attention import DecodeAttention, Kernels, Way
from engine.cuda.choice import Kind, choose
from engine.cuda.device import Device, Work
from engine.cuda.state import BatchState
from engine.models import LanguageModel
from engine.paged_cache import Pool

log = logging.getLogger(__name__)

_PLAIN: Final = "plain"
_WORTH: Final = 0.97  # of the plain way's time, that another may take at the most
_FAR: Final = 0.25
"""Of the largest logit, by which another way's may differ: rounding to bfloat16 makes 0.06 of random weights."""


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
        # By rows, where there are several ways: what each takes, and which was taken.
        self.seconds: dict[int, Mapping[str, float]] = {}
        self.ways: dict[int, str] = {}
        # The largest first: the others fit into the memory that it took.
        sizes = buckets[::-1]
        self._models: dict[int, Work] = {rows: self._fastest(rows, device) for rows in sizes}
        self._choices: dict[tuple[int, Kind], Work] = {
            (rows, kind): device.capture(partial(self._choose, rows, kind)) for rows in sizes for kind in Kind
        }

    def launch(self, rows: int, kind: Kind) -> None:
        """Send the next step of the first `rows` slots, one of the buckets."""
        self._models[rows]()
        self._choices[rows, kind]()

    def _fastest(self, rows: int, device: Device) -> Work:
        """The model's step, by the fastest of its ways on this device."""
        way = Way(_PLAIN, partial(self._plain, rows), self._kernels)
        plain = device.capture(partial(self._compute, rows, way))
        others = self._kernels.ways(self._model, rows) if device.measures else []
        if not others:
            return plain
        plain()
        expected = self.logits[:rows].clone()
        made = {way.name: self._made(rows, way, device, expected) for way in others}
        replays = {_PLAIN: plain} | {name: replay for name, replay in made.items() if replay is not None}
        seconds = {name: device.seconds(replay) for name, replay in replays.items()}
        name = chosen(seconds)
        self.seconds[rows], self.ways[rows] = seconds, name
        told = " ".join(f"{way.replace(' ', '_')}_ms={took * 1e3:.3f}" for way, took in seconds.items())
        log.info("decode_step rows=%d way=%s %s", rows, name.replace(" ", "_"), told)
        return replays[name]

    def _made(self, rows: int, way: Way, device: Device, expected: Tensor) -> Work | None:
        """Its replay; None where this device does not compute by it what it computes by the plain way."""
        name = way.name.replace(" ", "_")
        try:
            replay = device.capture(partial(self._compute, rows, way))
            replay()
            far = float((self.logits[:rows] - expected).abs().max() / expected.abs().max())
        except Exception:  # the plain way is there
            log.exception("decode_step_failed rows=%d way=%s", rows, name)
            return None
        if far <= _FAR:
            return replay
        log.error("decode_step_differs rows=%d way=%s by=%.3f", rows, name, far)
        return None

    def _plain(self, rows: int, tokens: Tensor, positions: Tensor, attention: Attending) -> Tensor:
        return self._model.forward(tokens, positions, attention, self._rows[:rows])

    def _compute(self, rows: int, way: Way) -> None:
        state = self._state
        attention = DecodeAttention(
            way.kernels, self._pools, state.tables[:rows], state.lengths(rows), state.places(rows)
        )
        self.logits[:rows] = way.forward(state.ids[:rows], state.positions[:rows], attention)

    def _choose(self, rows: int, kind: Kind) -> None:
        state = self._state
        logits, positions = self.logits[:rows], state.positions[:rows] + 1
        if kind is Kind.SHAPED:
            logits = state.shaped.apply(logits, positions)
        tokens = choose(logits, state.wishes.first(rows), positions, kind)
        if kind is Kind.SHAPED:
            state.shaped.follow(tokens)
        state.advance(rows, tokens)


def chosen(seconds: Mapping[str, float]) -> str:
    """The fastest way, the plain one where it is nearly as fast."""
    best = min(seconds, key=lambda name: seconds[name])
    return best if seconds[best] <= _WORTH * seconds[_PLAIN] else _PLAIN
