"""How a request becomes a sequence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from engine.limits import Limits
from engine.reply import Reply
from engine.request import Deliver, Draft, EngineRequest, Output, Sampling
from engine.sequence import RANKS, Sequence, deadline

SEED_MASK: Final = (1 << 63) - 1


class Newcomers:
    """Makes sequences and keeps none of them: any thread may ask for one."""

    def __init__(
        self, limits: Limits, reply_for: Callable[[EngineRequest, int], Reply], draw_seed: Callable[[], int]
    ) -> None:
        self._limits = limits
        self._reply_for = reply_for
        self._draw_seed = draw_seed

    def of(self, request: EngineRequest, deliver: Deliver, now: float) -> Sequence:
        max_output = self._limits.max_output(request)
        seed = request.sampling.seed
        return Sequence(
            request=request,
            deliver=deliver,
            reply=self._reply_for(request, max_output),
            seed=(self._draw_seed() if seed is None else seed) & SEED_MASK,
            max_output=max_output,
            submitted=now,
            first_token_deadline=deadline(now, request.first_token_timeout_s),
            deadline=deadline(now, request.total_timeout_s),
            rank=RANKS[request.service_tier],
            context=request.prompt_ids,
        )

    def of_draft(self, draft: Draft, now: float) -> Sequence:
        """Nobody hears of it. Refuses as `Limits.check` does."""
        request = EngineRequest(
            draft.id,
            draft.prompt_ids,
            "",
            Sampling(),
            draft.salt,
            prefill_only=True,
            total_timeout_s=self._limits.pin_s,
            adapter=draft.adapter,
        )
        self._limits.check(request, live=0, own=0)
        return replace(self.of(request, _hear_nothing, now), draft=True)


def _hear_nothing(output: Output) -> None:
    """A draft's ears."""
