"""What a run found, as text for people and JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from loadtest.figures import median
from loadtest.hub import Goal, Measured, Paced, Rate
from loadtest.machine import Machine


class Report(Struct, frozen=True, kw_only=True):
    """A run. `figures` are the scenario's own."""

    command: str
    machine: Machine
    scenario: str
    figures: Any
    goals: list[Goal] = []


def write_json(report: Report, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers, set to the right."""
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]

    def shown(line: Sequence[str]) -> str:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        return "| " + " | ".join(cells) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([shown(lines[0]), shown(rule), *(shown(line) for line in lines[1:])])


def number(value: float | None, digits: int = 1) -> str:
    """Empty for what was not measured."""
    return "" if value is None else f"{value:,.{digits}f}"


def machine_line(machine: Machine) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    return (
        f"{machine.date} UTC, {machine.cores} cores of {machine.cpu}, {machine.memory_gib:g} GiB, "
        f"{machine.system}, Python {machine.python}, {packages}; load average {machine.load_average:g}"
    )


def hub_text(measured: Measured, goals: Sequence[Goal]) -> str:
    return "\n\n".join([_rates(measured.rates), _paced(measured.paced), goal_table(goals)])


def _rates(rates: Sequence[Rate]) -> str:
    grouped: dict[tuple[str, int, int], list[Rate]] = {}
    for rate in rates:
        grouped.setdefault((rate.server, rate.sockets, rate.tokens_per_write), []).append(rate)
    return table(
        ["server", "sockets", "tokens a write", "frames a CPU second", "frames/s", "CPU %", "clients' CPU %"],
        [
            [
                server,
                str(sockets),
                str(lanes),
                number(median(one.frames_per_cpu_s for one in of), 0),
                number(median(one.frames_per_s for one in of), 0),
                number(100 * median(one.server_cpu for one in of), 0),
                number(100 * median(one.client_cpu for one in of), 0),
            ]
            for (server, sockets, lanes), of in grouped.items()
        ],
    )


def _paced(paced: Sequence[Paced]) -> str:
    grouped: dict[str, list[Paced]] = {}
    for one in paced:
        grouped.setdefault(one.server, []).append(one)
    rows = []
    for server, of in grouped.items():
        ages = [one.age_s for one in of if one.age_s is not None]
        rows.append(
            [
                server,
                number(median(one.frames_per_s for one in of), 0),
                number(100 * median(one.server_cpu for one in of), 0),
                number(median(age.p50 for age in ages) * 1e3 if ages else None, 2),
                number(median(age.p99 for age in ages) * 1e3 if ages else None, 2),
            ]
        )
    return table(["server", "frames/s", "CPU %", "age p50 ms", "age p99 ms"], rows)


def goal_table(goals: Sequence[Goal]) -> str:
    verdicts = {None: "", True: "met", False: "missed"}
    return table(
        ["goal", "measured", "limit", "verdict"],
        [
            [
                goal.name,
                number(goal.measured, 2),
                ("<= " if goal.at_most else ">= ") + f"{goal.limit:g}",
                verdicts[goal.met],
            ]
            for goal in goals
        ],
    )
