"""Rounds of a plan against several servers in turn, so that a noisy moment hits all alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from loadtest.histogram import Histogram
from loadtest.lag import LAG, lag_buckets, lag_p99_s
from loadtest.outcome import Outcome, outcome_of, times_of
from loadtest.play import Part, play
from loadtest.target import Target
from loadtest.workload import Plan


@dataclass(slots=True)
class Case:
    """All rounds of one server under one plan, by number, and their times together.

    Round 0 warms up: its figures do not count, and it is kept for its faults alone.
    """

    plan: str
    label: str
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    times: dict[str, Histogram] = field(default_factory=dict)

    def take(self, round_: int, parts: Sequence[Part], more: Mapping[str, float]) -> None:
        outcome = outcome_of(parts)
        if round_ == 0:
            if outcome.faults:
                self.outcomes[0] = replace(outcome, measures={})
            return
        self.outcomes[round_] = replace(outcome, measures={**outcome.measures, **more})
        for name, times in times_of(parts).items():
            self.times.setdefault(name, Histogram()).add(times)


def steps_of(plans: Sequence[Plan], rounds: int, targets: int) -> int:
    """How often `measure` tells its progress: once a turn."""
    return targets * sum(
        len(script.lines) for plan in plans for round_ in range(rounds + 1) for script in plan.scripts(round_)
    )


def order(targets: Sequence[Target], round_: int) -> list[Target]:
    """Each server is first in its turn."""
    first = round_ % len(targets)
    return [*targets[first:], *targets[:first]]


async def measure(
    targets: Sequence[Target],
    plans: Sequence[Plan],
    rounds: int,
    ends_at: float,
    on_turn: Callable[[], None] = lambda: None,
    pause_s: float = 0.0,
) -> list[Case]:
    """Each plan in so many rounds after one that warms up, whose faults count and whose figures do not.

    `pause_s` comes before each server's part of a round: threads of the one before may still spin.
    """
    cases: list[Case] = []
    for plan in plans:
        of = {target.label: Case(plan.name, target.label) for target in targets}
        cases += of.values()
        for round_ in range(rounds + 1):
            for target in order(targets, round_):
                await asyncio.sleep(pause_s)
                before = await lag_buckets(target)
                parts = await play(target, plan.scripts(round_), ends_at, on_turn)
                lag_s = lag_p99_s(before, await lag_buckets(target))
                of[target.label].take(round_, parts, {} if lag_s is None else {LAG: lag_s * 1e3})
    return cases
