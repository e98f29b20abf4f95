"""The border between deciding (scheduler, pages) and computing (runner): one step's work as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from engine.moves import Mover
from engine.request import Sampling

if TYPE_CHECKING:
    from engine.adapters.adapter import Adapter
    from engine.shaping import Shaping


Result: TypeAlias = int | tuple[int, ...] | Exception | None


@dataclass(slots=True)
class Row:
    """One sequence's share of a step: one token in decode, and guesses behind it if there are any; a chunk in prefill.

    Keys and values of `tokens` go to positions `start … start + len(tokens) - 1`; position p lives in page
    `pages[p // page_tokens]` at offset `p % page_tokens`. `pages` covers at least `start + len(tokens)` positions and
    everything before `start` has been written by earlier steps. A reply may have one row for all its steps: when a
    step is committed its tokens and its start become those of the next one.
    """

    tokens: Sequence[int]
    start: int
    pages: Sequence[int]
    sampling: Sampling
    seed: int
    sample: bool  # whether the last token's logits choose a next token
    shaping: Shaping | None = None  # what the request changes in those logits
    guesses: int = 0  # how many of `tokens`, the last ones, are thought to be what would be sampled
    adapter: Adapter | None = None  # what is added to the model's matrices

    @property
    def chooses(self) -> int:
        """How many tokens of the row choose a next one: the last ones."""
        return 1 + self.guesses if self.sample else 0


class DeviceLost(RuntimeError):
    """Nothing can be computed any more: some errors end a GPU's context, and only a new process has another."""


class Runner(Protocol):
    """Computes steps. Called from one thread only."""

    @property
    def page_tokens(self) -> int: ...

    @property
    def pages_total(self) -> int: ...

    @property
    def context_tokens(self) -> int: ...

    @property
    def ahead(self) -> int:
        """How many tokens it computes before they are asked for, where a row's pages have room for them."""
        ...

    @property
    def mover(self) -> Mover | None:
        """Its way to pages in the host's memory, where it has one."""
        ...

    def step(self, rows: Sequence[Row]) -> list[Result]:
        """Compute one step; for each row the sampled token, None where `sample` is false, or its own failure.
        For a row with guesses what `agreed` says.

        The token depends on (logits, sampling, shaping, seed, position) alone, so a row's neighbours never change its
        text in fp32. A raised exception means that no row of the step was computed, DeviceLost that none ever will.
        """
        ...

    def copy_page(self, source: int, target: int) -> None:
        """Copy a whole page of keys and values, all layers."""
        ...

    def forget_adapter(self, adapter: Adapter) -> None:
        """Keep nothing of an adapter that no row will have any more."""
        ...

    def close(self) -> None: ...


def agreed(row: Row, sampled: Sequence[int | Exception]) -> Result:
    """The result of a row with guesses: what was sampled, up to the first token that was not guessed.

    `sampled`: the tokens behind the row's own one and behind each guess. Of a failure only tokens before it remain.
    """
    tokens: list[int] = []
    guesses = iter(row.tokens[len(row.tokens) - row.guesses :])
    for token in sampled:
        if isinstance(token, Exception):
            return tuple(tokens) or token
        tokens.append(token)
        if token != next(guesses, None):
            break
    return tuple(tokens)
