"""The report as one page that needs nothing else: tables and plots, in light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final

from loadtest.cases import measure_rows, measured, notes
from loadtest.compare import medians
from loadtest.histogram import Histogram
from loadtest.plot import COLOURS, Bar, bars, curves, legend
from loadtest.report import Report, machine_line
from loadtest.rounds import Case

_COLOURS: Final = (
    ("#1f6feb", "#58a6ff"),
    ("#b35900", "#f0a04b"),
    ("#1a7f37", "#56d364"),
    ("#8250df", "#bc8cff"),
    ("#bf3989", "#f778ba"),
    ("#57606a", "#a0a8b0"),
)
"""Of each server in turn, for light and for dark; readable on either ground."""
_DASHES: Final = ("none", "7 3", "2 3", "9 3 2 3", "4 4", "1 4")
"""Of each server's line: colours alone do not tell them apart for everybody."""
assert len(_COLOURS) == len(_DASHES) == COLOURS

_STYLE: Final = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1f2328; --faint: #d0d7de; --soft: #57606a; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #0d1117; --ink: #e6edf3; --faint: #30363d; --soft: #9198a1; }
}
body { background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
code { overflow-wrap: anywhere; } p.where { color: var(--soft); }
.wide { overflow-x: auto; } table { border-collapse: collapse; } td { white-space: nowrap; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--faint); text-align: right;
  font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
svg.plot { display: block; width: 100%; min-width: 34rem; max-width: 46rem; margin: .5rem 0 1rem; }
svg line { stroke-width: 2; } svg line.rule { stroke-width: 1; }
h3 { font-size: 1rem; margin: 1.5rem 0 0; } h3 small { color: var(--soft); font-weight: 400; }
ul.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.5rem; padding: 0; list-style: none; }
ul.legend svg { width: 28px; height: 10px; margin-right: .5rem; }
svg text { fill: var(--ink); font-size: 12px; } svg text.axis { fill: var(--soft); font-size: 11px; }
svg .rule { stroke: var(--faint); } svg polyline { fill: none; stroke-width: 2; }
svg circle { fill: var(--ground); stroke: var(--ink); }
"""


def write_html(report: Report, cases: Sequence[Case], path: Path) -> None:
    path.write_text(page(report, cases), encoding="utf-8")


def page(report: Report, cases: Sequence[Case]) -> str:
    """The whole document. Whatever a server or a user named is escaped."""
    plans = dict.fromkeys(case.plan for case in cases)
    sections = "".join(_section([case for case in cases if case.plan == plan]) for plan in plans)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Load test: {escape(report.scenario)}</title><style>{_STYLE}{''.join(_colours())}</style></head>"
        f"<body><h1>Load test: {escape(report.scenario)}</h1>"
        f'<p><code>{escape(report.command)}</code></p><p class="where">{escape(machine_line(report.machine))}</p>'
        f"{sections}</body></html>\n"
    )


def _section(cases: Sequence[Case]) -> str:
    plan = cases[0].plan
    said = "".join(f"<li>{escape(line)}</li>" for line in notes(cases))
    whose = legend([case.label for case in cases]) if len(cases) > 1 else ""
    found = (
        f"{_table(cases)}{whose}{''.join(_plots(cases))}"
        if measured(cases)
        else "<p>Nothing was measured.</p>"
    )
    return f"<section><h2>{escape(plan)}</h2>{found}<ul>{said}</ul></section>"


def _table(cases: Sequence[Case]) -> str:
    headings, rows = measure_rows(cases)
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _plots(cases: Sequence[Case]) -> Iterator[str]:
    """Bars of every measure that is one number of a round, and a curve for each kind of time."""
    of = [medians(case) for case in cases]
    for name in dict.fromkeys(name for one in of for name in one):
        if " p50 " in name or " p99 " in name:
            continue  # the curves show percentiles
        rows = [
            Bar(case.label, one[name], _rounds(case, name))
            for case, one in zip(cases, of, strict=True)
            if name in one
        ]
        yield f"<h3>{escape(name)} <small>median, a dot for each round</small></h3>{bars(name, rows)}"
    for name in dict.fromkeys(name for case in cases for name in case.times):
        series = [(case.label, case.times.get(name, Histogram())) for case in cases]
        yield f"<h3>{escape(name)} <small>that so many of all do not exceed</small></h3>{curves(name, series)}"


def _rounds(case: Case, name: str) -> tuple[float, ...]:
    return tuple(outcome.measures[name] for outcome in case.outcomes.values() if name in outcome.measures)


def _colours() -> Iterator[str]:
    for place, (light, dark) in enumerate(_COLOURS):
        for colour, media in ((light, ""), (dark, "@media (prefers-color-scheme: dark)")):
            rules = (
                f".s{place}{{fill:{colour}}} .l{place}{{stroke:{colour};stroke-dasharray:{_DASHES[place]}}}"
            )
            yield f"{media}{{{rules}}}" if media else rules
