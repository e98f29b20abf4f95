"""The border between deciding (scheduler, pages) and computing (runner): one step's work as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from engine.request import Sampling

if TYPE_CHECKING:
    from engine.shaping import Shaping


@dataclass(slots=True)
class Row:
    """One sequence's share of a step: one token in decode, a chunk in prefill.

    Keys and values of `tokens` go to positions `start … start + len(tokens) - 1`; position p lives in page
    `pages[p // page_tokens]` at offset `p % page_tokens`. `pages` covers at least `start + len(tokens)` positions and
    everything before `start` has been written by earlier steps.
    """

    tokens: Sequence[int]
    start: int
    pages: Sequence[int]
    sampling: Sampling
    seed: int
    sample: bool  # whether the last token's logits choose a next token
    shaping: Shaping | None = None  # what the request changes in those logits


class Runner(Protocol):
    """Computes steps. Called from one thread only."""

    @property
    def page_tokens(self) -> int: ...

    @property
    def pages_total(self) -> int: ...

    @property
    def context_tokens(self) -> int: ...

    def step(self, rows: Sequence[Row]) -> list[int | Exception | None]:
        """Compute one step; for each row the sampled token, None where `sample` is false, or its own failure.

        The token depends on (logits, sampling, shaping, seed, position) alone, so a row's neighbours never change its
        text in fp32. A raised exception means that no row of the step was computed.
        """
        ...

    def copy_page(self, source: int, target: int) -> None:
        """Copy a whole page of keys and values, all layers."""
        ...

    def close(self) -> None: ...
