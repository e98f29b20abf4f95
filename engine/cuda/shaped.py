"""What rows change in their logits, kept on the device: `engine.shaping` for a whole batch, by the same operations.

A format is a mask that only the processor knows, and log probabilities are for its eyes: rows with either are not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from engine.batch import Row
from engine.cuda.device import Device
from engine.shaping import Changes, Shaping

BIASES: Final = 1024  # of a row: what the hub takes at the most
ENDS: Final = 16


def on_device(shaping: Shaping | None) -> bool:
    """Whether the device does all that it asks for."""
    return shaping is not None and shaping.plain and shaping.biases <= BIASES and shaping.ends <= ENDS


class Shaped:
    """Tensors with a row for each slot; one that asks for nothing changes nothing."""

    def __init__(self, device: Device, slots: int, vocab: int) -> None:
        self._device, self._vocab = device, vocab
        place = device.torch
        # Twice how often a token was generated, and 1 if penalties know it; 0: it was not met.
        self._met = torch.zeros(slots, vocab, dtype=torch.int32, device=place)
        self._penalties = torch.zeros(3, slots, device=place)  # presence, frequency, repetition
        self._penalties[2] = 1
        self._biased = torch.zeros(slots, BIASES, dtype=torch.int64, device=place)
        self._bias = torch.zeros(slots, BIASES, device=place)
        self._ends = torch.zeros(slots, ENDS, dtype=torch.int64, device=place)
        self._first_end = torch.zeros(slots, dtype=torch.int64, device=place)  # no end before this position
        self._shaped: set[int] = set()  # the slots that ask for something

    def join(self, homes: Sequence[tuple[int, Row]]) -> None:
        """Slots whose rows are new, or stand where the device did not expect them."""
        told: list[tuple[int, Changes, int]] = []
        for slot, row in homes:
            if row.shaping is not None and on_device(row.shaping):
                self._shaped.add(slot)
                told.append((slot, row.shaping.changes(), row.start + 1))
            elif slot in self._shaped:
                self._shaped.remove(slot)
                told.append((slot, Changes(), 0))
        if told:
            self._write(told)

    def apply(self, logits: Tensor, positions: Tensor) -> Tensor:
        """The first rows' logits, changed. logits: float32 [B, V]; positions: [B], the next tokens' -> [B, V]."""
        rows = len(logits)
        shaped = logits.scatter_add(1, self._biased[:rows], self._bias[:rows])
        presence, frequency, repetition = self._penalties[:, :rows, None]
        met = self._met[:rows]
        counts = met >> 1
        repeated = torch.where(shaped < 0, shaped * repetition, shaped / repetition)
        shaped = torch.where(met > 0, repeated, shaped)
        shaped -= frequency * counts + presence * (counts > 0)
        ends = self._ends[:rows]
        early = (positions < self._first_end[:rows])[:, None]
        return shaped.scatter_(1, ends, torch.where(early, float("-inf"), shaped.gather(1, ends)))

    def follow(self, tokens: Tensor) -> None:
        """The first rows' tokens are generated; below 0: none. tokens: [B]."""
        more = (tokens >= 0).to(torch.int32) * 2
        self._met[: len(tokens)].scatter_add_(1, tokens.clamp(min=0)[:, None], more[:, None])

    def _write(self, told: Sequence[tuple[int, Changes, int]]) -> None:
        send = self._device.send
        slots = send(torch.tensor([slot for slot, _, _ in told]))
        penalties = torch.tensor([changes.penalties for _, changes, _ in told], dtype=torch.float32)
        self._penalties.index_copy_(1, slots, send(penalties).T)
        first = torch.tensor([position + changes.before_end for _, changes, position in told])
        self._first_end.index_copy_(0, slots, send(first))
        biased = torch.zeros(len(told), BIASES, dtype=torch.int64)
        bias, ends = torch.zeros(len(told), BIASES), torch.zeros(len(told), ENDS, dtype=torch.int64)
        for row, (_, changes, _) in enumerate(told):
            biased[row, : len(changes.biased)] = changes.biased
            bias[row, : len(changes.bias)] = changes.bias
            if len(changes.ends):
                ends[row] = changes.ends[0]  # any of them more than once, but no other token
                ends[row, : len(changes.ends)] = changes.ends
        self._biased.index_copy_(0, slots, send(biased))
        self._bias.index_copy_(0, slots, send(bias))
        self._ends.index_copy_(0, slots, send(ends))
        self._met.index_fill_(0, slots, 0)
        places = torch.cat([slot * self._vocab + changes.met for slot, changes, _ in told])
        counts = torch.cat([changes.counts for _, changes, _ in told])
        self._met.view(-1).index_copy_(0, send(places), send((counts * 2 + 1).to(torch.int32)))
