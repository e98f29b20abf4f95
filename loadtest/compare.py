"""Servers side by side (pure): ratios taken within a round, their median and ends."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from loadtest.figures import median, ratio
from loadtest.rounds import Case


class Ratio(Struct, frozen=True):
    """A measure of the first server, of the same measure of another in the same round."""

    plan: str
    measure: str
    ours: str
    theirs: str
    median: float
    lowest: float
    highest: float


def medians(case: Case) -> dict[str, float]:
    """Each measure's median over the rounds that have it, in the order they were found."""
    names = dict.fromkeys(name for outcome in case.outcomes.values() for name in outcome.measures)
    return {name: median(_by_round(case, name).values()) for name in names}


def ratios(ours: Case, theirs: Case) -> list[Ratio]:
    """Of every measure that both have."""
    found = []
    theirs_too = medians(theirs)
    for name in medians(ours):
        if name not in theirs_too:
            continue
        mine, other = _by_round(ours, name), _by_round(theirs, name)
        of = [
            one for round_ in mine.keys() & other if (one := ratio(mine[round_], other[round_])) is not None
        ]
        if of:
            found.append(Ratio(ours.plan, name, ours.label, theirs.label, median(of), min(of), max(of)))
    return found


def _by_round(case: Case, name: str) -> dict[int, float]:
    return {
        round_: outcome.measures[name]
        for round_, outcome in case.outcomes.items()
        if name in outcome.measures
    }


def all_ratios(cases: Sequence[Case]) -> list[Ratio]:
    """The first server of each plan beside each other one."""
    found = []
    for plan in dict.fromkeys(case.plan for case in cases):
        ours, *others = [case for case in cases if case.plan == plan]
        found += [one for theirs in others for one in ratios(ours, theirs)]
    return found
