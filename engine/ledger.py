"""What an engine has done so far, in numbers that never fall."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.blocks import BlockPool
from engine.interface import EngineStats
from engine.request import FinishReason
from engine.roster import Roster
from engine.sequence import Sequence
from engine.times import Times


@dataclass(slots=True)
class Ledger:
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    generated_tokens: int = 0
    steps: int = 0
    guessed_rows: int = 0
    guessed_tokens: int = 0
    accepted_tokens: int = 0
    finished: dict[str, int] = field(default_factory=lambda: {reason.value: 0 for reason in FinishReason})
    times: Times = field(default_factory=Times)

    def start(self, sequence: Sequence, now: float) -> None:
        """Count a prompt, once, when it gets its first pages."""
        self.prompt_tokens += len(sequence.prompt)
        self.cached_prompt_tokens += sequence.cached
        self.times.started(sequence, now)

    def step(self, tokens: int) -> None:
        """Count a step; `tokens` it has computed of prompts and sampled."""
        self.steps += 1
        self.times.stepped(tokens)

    def end(self, sequence: Sequence, reason: FinishReason) -> None:
        self.finished[reason.value] += 1
        self.times.ended(sequence)

    def guess(self, guesses: int, accepted: int) -> None:
        """Count a row's guesses, and those that were right."""
        self.guessed_rows += 1
        self.guessed_tokens += guesses
        self.accepted_tokens += accepted

    def stats(self, roster: Roster, pool: BlockPool) -> EngineStats:
        return EngineStats(
            running=len(roster.running),
            waiting=len(roster.waiting),
            preemptions=roster.preemptions,
            pages_total=pool.pages_total,
            pages_used=pool.used,
            pages_cached=pool.cached,
            pages_pinned=pool.pinned,
            evictions=pool.evictions,
            host_pages_total=pool.host.total,
            host_pages_used=pool.host.used,
            host_pages_out=pool.moved_out,
            host_pages_back=pool.moved_back,
            prompt_tokens=self.prompt_tokens,
            cached_prompt_tokens=self.cached_prompt_tokens,
            generated_tokens=self.generated_tokens,
            steps=self.steps,
            guessed_rows=self.guessed_rows,
            guessed_tokens=self.guessed_tokens,
            accepted_tokens=self.accepted_tokens,
            finished=dict(self.finished),
            spreads=self.times.spreads(),
        )
