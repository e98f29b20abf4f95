"""What one request does with its logits before a token is drawn: a look at their probabilities, then changes of them by
bias, penalties, no end before its time, a format.

The order is transformers': bias, then penalties, then what may not come at all.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.grammar import GrammarState
from engine.penalties import Penalties
from engine.request import Sampling
from engine.scores import Scores


def _no_tokens() -> Tensor:
    return torch.zeros(0, dtype=torch.long)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a shaping does to the next logits as plain numbers, for who goes on with it by itself."""

    met: Tensor = field(default_factory=_no_tokens)  # tokens that the penalties know, each once
    counts: Tensor = field(default_factory=lambda: torch.zeros(0))  # how often each was generated
    penalties: tuple[float, float, float] = (0.0, 0.0, 1.0)  # presence, frequency, repetition
    biased: Tensor = field(default_factory=_no_tokens)
    bias: Tensor = field(default_factory=lambda: torch.zeros(0))
    ends: Tensor = field(default_factory=_no_tokens)
    before_end: int = 0  # how many tokens come before one of them may


def shaping_of(
    sampling: Sampling, prompt: Sequence[int], eos_ids: Set[int], grammar: GrammarState | None = None
) -> Shaping | None:
    """What the request does; None where it does nothing, as nearly all do."""
    penalised = (
        sampling.presence_penalty != 0 or sampling.frequency_penalty != 0 or sampling.repetition_penalty != 1
    )
    delayed = sampling.min_tokens > 0 and bool(eos_ids)
    looked_at = sampling.logprobs is not None
    if not (penalised or sampling.logit_bias or delayed or grammar or looked_at):
        return None
    return Shaping(sampling, Penalties(sampling, prompt) if penalised else None, eos_ids, grammar)


class Shaping:
    """Follows one sequence: `apply` depends on the tokens it was given by `follow`, and on nothing else."""

    def __init__(
        self,
        sampling: Sampling,
        penalties: Penalties | None,
        eos_ids: Set[int],
        grammar: GrammarState | None,
    ) -> None:
        self.scores = None if sampling.logprobs is None else Scores(sampling.logprobs)
        self._penalties = penalties
        self._grammar = grammar
        self._biased = torch.tensor([token for token, _ in sampling.logit_bias], dtype=torch.long)
        self._bias = torch.tensor([bias for _, bias in sampling.logit_bias])
        self._ends = torch.tensor(sorted(eos_ids), dtype=torch.long)
        self._before_end = sampling.min_tokens if eos_ids else 0

    @property
    def complete(self) -> bool:
        """Whether the reply's format wants nothing more."""
        return self._grammar is not None and self._grammar.complete

    @property
    def plain(self) -> bool:
        """Whether `changes` tells all: no format, and nobody looks at probabilities."""
        return self._grammar is None and self.scores is None

    @property
    def biases(self) -> int:
        return len(self._biased)

    @property
    def ends(self) -> int:
        """How many tokens end a reply."""
        return len(self._ends)

    def changes(self) -> Changes:
        penalties = self._penalties
        met, counts = (_no_tokens(), torch.zeros(0)) if penalties is None else penalties.met()
        return Changes(
            met,
            counts,
            (0.0, 0.0, 1.0) if penalties is None else penalties.strengths,
            self._biased,
            self._bias,
            self._ends,
            max(0, self._before_end),
        )

    def follow(self, token: int) -> None:
        """`token` was generated."""
        self._before_end -= 1
        if self._penalties is not None:
            self._penalties.follow(token)
        if self._grammar is not None:
            self._grammar.follow(token)

    def apply(self, logits: Tensor) -> None:
        """Change a row's logits, [V], in place. Raises EngineError where nothing may follow."""
        if self.scores is not None:
            self.scores.look(logits)
        device = logits.device
        if len(self._biased):
            logits[self._biased.to(device)] += self._bias.to(device)
        if self._penalties is not None:
            self._penalties.apply(logits)
        if self._grammar is not None:
            logits.masked_fill_(~self._within(self._grammar).to(device), float("-inf"))
        elif self._before_end > 0:
            logits[self._ends.to(device)] = float("-inf")

    def _within(self, grammar: GrammarState) -> Tensor:
        """What the format allows; of that no end before its time, unless the format wants nothing else."""
        allowed = grammar.allowed()
        if self._before_end > 0:
            early = allowed.clone()
            early[self._ends] = False
            return early if bool(early.any()) else allowed
        return allowed
