"""Cases as text, as a table of Markdown for people, and as what programs read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from loadtest.compare import Ratio, all_ratios, medians
from loadtest.figures import Spread
from loadtest.outcome import Outcome
from loadtest.report import number, table
from loadtest.rounds import Case
from loadtest.words import several


class CaseReport(Struct, frozen=True):
    """A case with every round of it. `histograms` are base64 in the HDR format, in microseconds."""

    plan: str
    server: str
    medians: dict[str, float]
    rounds: dict[int, Outcome]
    times: dict[str, Spread]
    histograms: dict[str, str]


class Compared(Struct, frozen=True):
    """The figures of a run's report."""

    cases: list[CaseReport]
    ratios: list[Ratio]


def compared(cases: Sequence[Case]) -> Compared:
    return Compared(
        cases=[
            CaseReport(
                plan=case.plan,
                server=case.label,
                medians=medians(case),
                rounds=case.outcomes,
                times={name: spread for name, times in case.times.items() if (spread := times.spread())},
                histograms={name: times.encoded() for name, times in case.times.items()},
            )
            for case in cases
        ],
        ratios=all_ratios(cases),
    )


def faults_of(cases: Sequence[Case]) -> Counter[str]:
    total: Counter[str] = Counter()
    for case in cases:
        for outcome in case.outcomes.values():
            total.update(outcome.faults)
    return total


def cases_text(cases: Sequence[Case]) -> str:
    """A table for each plan, what went wrong below it."""
    plans = dict.fromkeys(case.plan for case in cases)
    return "\n\n".join(_plan_text(plan, [case for case in cases if case.plan == plan]) for plan in plans)


def _plan_text(plan: str, cases: Sequence[Case]) -> str:
    found = measures_table(cases) if measured(cases) else "nothing was measured"
    return "\n".join([f"{plan}:", "", found, "", *notes(cases)])


def measured(cases: Sequence[Case]) -> bool:
    """Whether there is any figure to show."""
    return any(outcome.measures for case in cases for outcome in case.outcomes.values())


def measures_table(cases: Sequence[Case]) -> str:
    """A row for each measure, a column for each server, then the ratios of the first to the others."""
    headings, rows = measure_rows(cases)
    return table(headings, rows)


def measure_rows(cases: Sequence[Case]) -> tuple[list[str], list[list[str]]]:
    of = [medians(case) for case in cases]
    ours, *others = cases
    ratios = {(one.theirs, one.measure): one for one in all_ratios(cases)}
    headings = ["median of the rounds", *(case.label for case in cases)]
    headings += [f"{ours.label} / {case.label}" for case in others]
    rows = []
    for name in dict.fromkeys(name for one in of for name in one):
        values = [number(one.get(name)) for one in of]
        rows.append([name, *values, *(_ratio(ratios.get((case.label, name))) for case in others)])
    return headings, rows


def _ratio(one: Ratio | None) -> str:
    if one is None:
        return ""
    if one.lowest == one.highest:
        return number(one.median, 2)
    return f"{number(one.median, 2)} ({number(one.lowest, 2)} to {number(one.highest, 2)})"


def notes(cases: Sequence[Case]) -> list[str]:
    """Of each server: how many rounds and turns, what counted its tokens, and its faults by name."""
    lines = []
    for case in cases:
        outcomes = case.outcomes.values()
        good = [outcome for outcome in outcomes if outcome.measures]
        counted: Counter[str] = Counter()
        for outcome in good:
            counted.update(outcome.counted_by)
        by = " and ".join(f"{by} ({turns})" for by, turns in counted.items())
        counts = f", tokens counted by {by}" if by else ""
        longest = max((outcome.input_tokens for outcome in good), default=0)
        prompt = f"; longest prompt {longest} tokens" if longest else ""
        turns = sum(outcome.turns for outcome in outcomes)
        lines.append(f"{case.label}: {several(len(good), 'round')}, {several(turns, 'turn')}{counts}{prompt}")
        details = {name: said for outcome in outcomes for name, said in outcome.details.items()}
        lines += [
            f"{case.label}: {count} x {name}" + (f" ({details[name]})" if name in details else "")
            for name, count in faults_of([case]).items()
        ]
    return lines
