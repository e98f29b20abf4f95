"""A row's share of a step, and where rows keep their tokens, as our kernels read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import torch

from engine.kernels import Tables
from engine.prompts import PromptTables


@dataclass(frozen=True, slots=True)
class Span:
    """One row's share of a step: tokens `first … first + count - 1` of the batch, at positions `start` and on."""

    first: int
    count: int
    start: int
    pages: Sequence[int]
    guesses: int = 0  # so many of the tokens, the last ones

    @property
    def decodes(self) -> bool:
        return self.count == 1 + self.guesses


def tables_of(spans: Sequence[Span]) -> Tables:
    """For rows that decode, as the kernel reads them: each token is a row."""
    begins = accumulate((len(span.pages) for span in spans), initial=0)
    starts = [begin for span, begin in zip(spans, begins, strict=False) for _ in range(span.count)]
    positions = [position for span in spans for position in range(span.start, span.start + span.count)]
    return Tables(
        torch.tensor(list(chain.from_iterable(span.pages for span in spans)), dtype=torch.int32),
        torch.tensor(starts),
        torch.tensor(positions),
        max(positions) + 1,
    )


def prompt_tables_of(spans: Sequence[Span]) -> PromptTables:
    """For rows of several tokens, as the kernel reads them."""
    starts = accumulate((len(span.pages) for span in spans), initial=0)
    firsts = accumulate((span.count for span in spans), initial=0)
    return PromptTables(
        torch.tensor(list(chain.from_iterable(span.pages for span in spans)), dtype=torch.int32),
        torch.tensor(list(starts)),
        torch.tensor(list(firsts)),
        torch.tensor([span.start for span in spans]),
    )
