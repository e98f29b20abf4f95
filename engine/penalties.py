"""What a request's penalties take from the logits of the tokens that it has met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import torch
from torch import Tensor

from engine.request import Sampling

_ROOM: Final = 64  # tokens for which a table has room at first; it doubles


class Penalties:
    """A table of the tokens met, with how often each was generated. It grows with a token, not with the vocabulary."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        self._presence = sampling.presence_penalty
        self._frequency = sampling.frequency_penalty
        self._repetition = sampling.repetition_penalty
        self._prompt: Sequence[int] = prompt if self._repetition != 1 else ()  # entered when first applied
        self._new: list[int] = []
        self._places: dict[int, int] = {}
        self._ids = torch.zeros(_ROOM, dtype=torch.long)
        self._counts = torch.zeros(_ROOM)

    def follow(self, token: int) -> None:
        """`token` was generated."""
        self._new.append(token)

    @property
    def strengths(self) -> tuple[float, float, float]:
        """Presence, frequency, repetition."""
        return self._presence, self._frequency, self._repetition

    def met(self) -> tuple[Tensor, Tensor]:
        """The tokens, and how often each was generated. [N] each."""
        self._catch_up()
        met = len(self._places)
        return self._ids[:met], self._counts[:met]

    def apply(self, logits: Tensor) -> None:
        """Change a row's logits, [V], in place."""
        ids, counts = (part.to(logits.device) for part in self.met())
        scores = logits[ids]
        if self._repetition != 1:
            # A tensor: by a number, a GPU multiplies with what 1 divided by it is rounded to.
            repetition = torch.full((), self._repetition, device=logits.device)
            scores = torch.where(scores < 0, scores * repetition, scores / repetition)
        scores -= self._frequency * counts + self._presence * (counts > 0)
        logits[ids] = scores

    def _catch_up(self) -> None:
        self._enter(self._prompt)
        self._prompt = ()
        self._enter(self._new)
        for token in self._new:
            self._counts[self._places[token]] += 1
        self._new.clear()

    def _enter(self, tokens: Iterable[int]) -> None:
        fresh = [token for token in dict.fromkeys(tokens) if token not in self._places]
        if not fresh:
            return
        first = len(self._places)
        self._places.update(zip(fresh, range(first, first + len(fresh)), strict=True))
        wanted = len(self._places)
        if wanted > len(self._ids):
            room = 2 * wanted - len(self._ids)
            self._ids = torch.cat((self._ids, self._ids.new_zeros(room)))
            self._counts = torch.cat((self._counts, self._counts.new_zeros(room)))
        self._ids[first:wanted] = torch.tensor(fresh)
