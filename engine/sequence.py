"""One generation inside the engine, from its submission to its end."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import Final

from engine.batch import Row
from engine.lease import Lease
from engine.lookup import Lookup
from engine.reply import Reply
from engine.request import Deliver, EngineError, EngineRequest, ServiceTier

RANKS: Final[dict[ServiceTier, int]] = {"priority": 0, "auto": 1, "default": 1, "flex": 2}


class Phase(enum.Enum):
    WAITING = "waiting"  # no pages: new, or preempted
    PREFILL = "prefill"
    DECODE = "decode"
    DONE = "done"


@dataclass(slots=True, eq=False)
class Sequence:
    """State that the scheduler alone changes, except `output` and `granted` as their comments say."""

    request: EngineRequest
    deliver: Deliver
    reply: Reply
    seed: int
    max_output: int
    submitted: float
    first_token_deadline: float
    deadline: float
    rank: int  # of its tier, 0 first; falls while it waits
    phase: Phase = Phase.WAITING
    lease: Lease | None = None
    context: Items[int] = ()  # what prefill computes: the prompt, and after a preemption the tokens so far
    batch: int = 0  # of moves that bring its pages: nothing is computed before
    computed: int = 0  # positions of `context` whose keys and values are in pages
    tokens: list[int] = field(default_factory=list)  # sampled ids
    output: int = 0  # how many; where tokens come without steps, true after `count`
    granted: int = 0  # `output` may reach this before the next call of `Scheduler.grant`; may be lowered
    cached: int = 0  # prompt tokens that were not computed
    charged: int = 0  # positions that its tenant has had, or was given for nothing
    lookup: Lookup | None = None  # where guesses come from, once it decodes
    started_at: float = 0.0  # when it got its first pages
    first_token: float = 0.0
    last_token: float | None = None
    timed: int = 0  # how many tokens there were at `last_token`; 0: all
    row: Row | None = None  # its own of each step while it decodes
    draft: bool = False
    started: bool = False
    announced: bool = False

    @property
    def prompt(self) -> Items[int]:
        return self.request.prompt_ids

    @property
    def session(self) -> str:
        """Within its tenant; a request that names none is one of its own."""
        return self.request.session or self.request.id

    @property
    def remaining(self) -> int:
        return len(self.context) - self.computed

    def count(self) -> None:
        """Make `output` true, before anything is decided by it."""
        self.output = self.reply.count(self.output)

    def next_deadline(self) -> float:
        return self.deadline if self.output else min(self.deadline, self.first_token_deadline)

    def overdue(self, now: float) -> EngineError | None:
        """Why its time is up, if it is."""
        if now >= self.deadline:
            return EngineError("request_timeout", "The reply took longer than its time limit.")
        if now >= self.next_deadline():
            return EngineError(
                "first_token_timeout", "No token came within the time limit for the first one."
            )
        return None

    def __repr__(self) -> str:
        return f"<Sequence {self.request.id} {self.phase.value} output={self.output}>"


def deadline(now: float, timeout_s: float | None) -> float:
    return math.inf if timeout_s is None else now + timeout_s
