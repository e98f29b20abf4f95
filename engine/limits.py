"""What an engine takes in at once: the numbers the scheduler decides by, and the refusals at its door."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from engine.request import EngineError, EngineRequest

OWN_OVER_FREE: Final = 7
"""A tenant gets a place in the queue while fewer than so many times the free places are its own: alone it gets seven
eighths of them, the next one seven eighths of the rest. The last one is for a tenant that has no request here."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one engine. Tokens of a context count prompt and output together."""

    context_tokens: int
    max_running: int = 64  # sequences that hold pages
    max_waiting: int = 256  # sequences behind them; past this a request is refused
    step_tokens: int = 512  # tokens of one step: decodes first, the rest for prefill chunks
    gap_s: float = math.inf  # what a step's prefill chunks are measured for, while replies run
    partial_prefills: int = (
        4  # long prompts in flight at once, so that a short one never waits for a long one
    )
    guesses: int = 0  # tokens of one reply that are guessed in a step, at the most
    ahead: int = 0  # tokens of each reply that are computed before they are asked for: they need pages
    pin_s: float = 300.0  # how long a warm-up's or a session's pages outlive everything but memory pressure
    patience_s: float = 10.0  # who has waited so long moves up a tier: longer than most replies take
    max_drafts: int = 256  # typed prompts that wait to be computed; past it the oldest is forgotten
    retry_after_s: float = 1.0  # told to those refused: about the time in which a short reply ends
    vocabulary: int | None = None  # ids are below it; None where ids are no rows of a matrix

    def __post_init__(self) -> None:
        for name in ("context_tokens", "max_running", "step_tokens", "partial_prefills"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if not self.gap_s > 0:
            raise ValueError("gap_s must be positive")
        for name in ("max_waiting", "guesses", "ahead"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")

    @property
    def min_chunk_tokens(self) -> int:
        """What prefill gets in a step however many sequences decode, so that they cannot starve it."""
        return max(1, self.step_tokens // 4)

    def max_output(self, request: EngineRequest) -> int:
        """The most tokens the request may generate."""
        room = self.context_tokens - len(request.prompt_ids)
        wanted = request.sampling.max_tokens
        return 0 if request.prefill_only else room if wanted is None else min(room, wanted)

    def check(self, request: EngineRequest, live: int, own: int) -> None:
        """Refuse what cannot be served: EngineError. `live` counts the requests taken and not finished, `own` those of
        them that are of the same tenant."""
        prompt = len(request.prompt_ids)
        if prompt == 0:
            raise EngineError("invalid_value", "The prompt has no tokens.")
        if not request.weight > 0:
            raise ValueError(f"a weight must be positive, not {request.weight}")
        if prompt > self.context_tokens - (0 if request.prefill_only else 1):
            raise EngineError(
                "context_length_exceeded",
                f"The prompt has {prompt} tokens; this model's context is {self.context_tokens} tokens, "
                "prompt and output together.",
            )
        self._check_bias(request)
        self._check_queue(live - self.max_running, own)

    def _check_queue(self, waiting: int, own: int) -> None:
        free = self.max_waiting - waiting
        most = OWN_OVER_FREE * free if free > 1 else free
        if waiting < 0 or min(own, waiting) < most:
            return
        serves = f"The engine serves {self.max_running} requests at once"
        left = "place that is left is" if free == 1 else f"{free} places that are left are"
        raise EngineError(
            "server_is_overloaded",
            f"{serves} and {self.max_waiting} wait already."
            if free <= 0
            else f"{serves}, {waiting} wait, and the {left} for other tenants.",
            retry_after_s=self.retry_after_s,
        )

    def _check_bias(self, request: EngineRequest) -> None:
        if self.vocabulary is None:
            return
        for token, _ in request.sampling.logit_bias:
            if not 0 <= token < self.vocabulary:
                raise EngineError(
                    "invalid_value",
                    f"logit_bias names the token {token}; this model's ids are 0 to {self.vocabulary - 1}.",
                    param="logit_bias",
                )
