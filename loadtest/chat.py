"""Closed-loop users over our WebSocket: time to first text, gaps between deltas, tokens a second."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import Struct

from loadtest.figures import Spread, median, median_spread
from loadtest.target import Target
from loadtest.user import Ask, Turn, closed_loop

_QUESTIONS: Final = (
    "What is the capital of France, and what is it known for?",
    "Explain in simple words how a bicycle stays upright.",
    "Write a short story about a lighthouse keeper.",
    "How do I cook rice so that it does not stick?",
    "What are the differences between a frog and a toad?",
    "Give me five ideas for a rainy afternoon with children.",
    "Describe how a letter travels from sender to receiver.",
    "Why is the sky blue and the sunset red?",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to ask: for each number of streams, `runs` measured runs after one that warms up."""

    streams: tuple[int, ...]
    ask: Ask
    turns: int = 2  # of each user in a run
    runs: int = 3


class Run(Struct, frozen=True):
    """One run of so many users side by side."""

    streams: int
    tokens_per_s: float  # of all streams together, from the first question to the end of the last answer
    first_text_s: Spread | None
    gap_s: Spread | None
    turns: int
    faults: dict[str, int]


class Figures(Struct, frozen=True):
    """The medians of several runs."""

    streams: int
    runs: int
    tokens_per_s: float
    first_text_s: Spread | None
    gap_s: Spread | None
    turns: int
    faults: dict[str, int]


def prompts_of(run: int, user: int, turns: int) -> list[str]:
    """Questions that no other turn asks in the same words, so that no cache of prefixes helps with them."""
    return [
        f"{run}.{user}.{turn}: {_QUESTIONS[(run + user + turn) % len(_QUESTIONS)]}" for turn in range(turns)
    ]


def steps_of(plan: Plan) -> int:
    """How often `measure` tells its progress: once a turn."""
    return sum(streams * plan.turns * (plan.runs + 1) for streams in plan.streams)


async def measure(target: Target, plan: Plan, on_turn: Callable[[], None] = lambda: None) -> list[Run]:
    """Every run of the plan in turn; the runs that warm up are left out."""
    runs: list[Run] = []
    number = 0
    for streams in plan.streams:
        for repeat in range(plan.runs + 1):
            run = await _run(target, plan, streams, number, on_turn)
            number += 1
            if repeat > 0 or run.faults:
                runs.append(run)
    return runs


async def _run(target: Target, plan: Plan, streams: int, number: int, on_turn: Callable[[], None]) -> Run:
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        users = [
            group.create_task(closed_loop(target, prompts_of(number, user, plan.turns), plan.ask, on_turn))
            for user in range(streams)
        ]
    turns = [turn for user in users for turn in user.result()]
    return run_of(streams, turns, time.perf_counter() - began)


def run_of(streams: int, turns: Sequence[Turn], wall_s: float) -> Run:
    """The figures of a run; turns with a fault count as faults alone."""
    good = [turn for turn in turns if turn.fault is None]
    starts = [turn.asked_at for turn in good]
    ends = [turn.ended_at for turn in good if turn.ended_at is not None]
    seconds = max(ends) - min(starts) if ends else wall_s
    firsts = [turn.first_text_s for turn in good if turn.first_text_s is not None]
    return Run(
        streams=streams,
        tokens_per_s=sum(turn.output_tokens for turn in good) / seconds,
        first_text_s=Spread.of(firsts),
        gap_s=Spread.of([gap for turn in good for gap in turn.gaps_s]),
        turns=len(turns),
        faults=dict(Counter(turn.fault for turn in turns if turn.fault is not None)),
    )


def figures_of(runs: Sequence[Run]) -> list[Figures]:
    """Medians over the runs of each number of streams, in the order they were made."""
    found = []
    for streams in dict.fromkeys(run.streams for run in runs):
        of = [run for run in runs if run.streams == streams]
        faults: Counter[str] = Counter()
        for run in of:
            faults.update(run.faults)
        found.append(
            Figures(
                streams=streams,
                runs=len(of),
                tokens_per_s=median(run.tokens_per_s for run in of),
                first_text_s=median_spread([run.first_text_s for run in of if run.first_text_s is not None]),
                gap_s=median_spread([run.gap_s for run in of if run.gap_s is not None]),
                turns=sum(run.turns for run in of),
                faults=dict(faults),
            )
        )
    return found
