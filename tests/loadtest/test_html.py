from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.cases import cases_text, compared, measure_rows, notes
from loadtest.histogram import Histogram
from loadtest.html import page
from loadtest.machine import Machine
from loadtest.outcome import Outcome
from loadtest.plot import Bar, bars, curves, legend, scale_marks
from loadtest.report import Report
from loadtest.rounds import Case

EVIL = '<script>alert("x")</script>'


def cases() -> list[Case]:
    def of(label: str, *rates: float) -> Case:
        rounds = {
            number: Outcome(
                {"tokens/s": rate, "gap p50 ms": 5.0}, 4, {"usage": 3}, 30, {"timeout": 1}, {"timeout": EVIL}
            )
            for number, rate in enumerate(rates, 1)
        }
        return Case("8 streams", label, rounds, {"gap": Histogram([0.001, 0.02]), "first text": Histogram()})

    return [of("ours", 10.0, 30.0), of(EVIL, 5.0, 10.0)]


def report() -> Report:
    return Report(command=f"run {EVIL}", machine=Machine.here(), scenario="chat", figures=compared(cases()))


def test_the_page_needs_nothing_else_and_what_was_named_is_escaped() -> None:
    html = page(report(), cases())
    assert EVIL not in html
    assert not any(mark in html for mark in ("http://", "https://", "src=", "href=", "@import", "url("))
    assert "prefers-color-scheme: dark" in html
    assert "<h2>8 streams</h2>" in html
    assert "2.50 (2.00 to 3.00)" in html
    assert "8 x" not in html


def test_the_page_is_well_formed() -> None:
    html = page(report(), cases())
    body = html[html.index("<body>") : html.index("</html>")]
    found = ElementTree.fromstring(body)
    plots = [svg for svg in found.iter("svg") if svg.attrib.get("class") == "plot"]
    assert len(plots) == 3  # tokens/s; gap and first text by percentile


def test_a_bar_has_its_median_and_a_dot_for_each_round() -> None:
    drawn = ElementTree.fromstring(bars("tokens/s", [Bar("a", 10.0, (5.0, 10.0, 20.0)), Bar("b", 20.0, ())]))
    widths = [float(bar.attrib["width"]) for bar in drawn.iter("rect")]
    assert widths[1] == pytest.approx(2 * widths[0])
    assert len(list(drawn.iter("circle"))) == 3


def test_bars_of_nothing_are_drawn() -> None:
    assert "<svg" in bars("nothing", [Bar("a", 0.0, (0.0,))])


def test_a_curve_falls_on_the_page_as_times_grow() -> None:
    drawn = ElementTree.fromstring(curves("gap", [("a", Histogram([0.001, 0.01, 0.1])), ("b", Histogram())]))
    (line,) = drawn.iter("polyline")
    heights = [float(point.split(",")[1]) for point in line.attrib["points"].split()]
    assert heights == sorted(heights, reverse=True)


def test_a_curve_of_one_value_is_level() -> None:
    drawn = ElementTree.fromstring(curves("gap", [("a", Histogram([0.001]))]))
    (line,) = drawn.iter("polyline")
    assert len({point.split(",")[1] for point in line.attrib["points"].split()}) == 1


@given(st.lists(st.floats(1e-3, 3.6e6), min_size=1))
def test_the_marks_of_a_scale_stand_around_all_values(values: list[float]) -> None:
    marks = scale_marks(values)
    assert marks[0] <= min(values)
    assert max(values) <= marks[-1]
    assert 2 <= len(marks) <= 12
    assert marks == sorted(set(marks))


def test_a_seventh_server_has_a_colour_and_a_long_name_is_told_in_full_once() -> None:
    name = "a server with a name that is longer than its place beside a bar"
    drawn = bars("tokens/s", [Bar(name, 1.0, ()) for _ in range(7)])
    assert "s6" not in drawn
    assert name not in drawn
    assert name in legend([name])


def test_a_page_without_figures_says_so() -> None:
    nothing = [Case("1 stream", "a", {0: Outcome({}, 1, {}, 0, {"refused": 1}, {})})]
    html = page(
        Report(command="", machine=Machine.here(), scenario="chat", figures=compared(nothing)), nothing
    )
    assert "Nothing was measured." in html
    assert "<table" not in html
    assert "1 x refused" in html
    assert "nothing was measured" in cases_text(nothing)


def test_ratios_stand_beside_the_medians() -> None:
    headings, rows = measure_rows(cases())
    assert headings[-1] == f"ours / {EVIL}"
    assert rows[0] == ["tokens/s", "20.0", "7.5", "2.50 (2.00 to 3.00)"]
    assert rows[1] == ["gap p50 ms", "5.0", "5.0", "1.00"]


def test_faults_are_named_with_what_was_said() -> None:
    lines = notes(cases())
    assert lines[0] == "ours: 2 rounds, 8 turns, tokens counted by usage (6); longest prompt 30 tokens"
    assert lines[1] == f"ours: 2 x timeout ({EVIL})"
    assert "8 streams:" in cases_text(cases())


def test_a_server_without_figures_is_shown_as_one() -> None:
    nothing = Case("1 stream", "a", {0: Outcome({}, 1, {}, 0, {"refused": 1}, {})})
    assert notes([nothing]) == ["a: 0 rounds, 1 turn", "a: 1 x refused"]


def test_histograms_are_in_the_report_for_programs() -> None:
    first = compared(cases()).cases[0]
    assert first.medians["tokens/s"] == 20.0
    assert first.times.keys() == {"gap"}
    assert first.histograms.keys() == {"gap", "first text"}
