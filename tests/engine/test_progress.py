"""How long work shows itself on a terminal and where there is none."""

from __future__ import annotations

import io

import pytest

from engine.progress import ProgressBars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_a_task_is_a_line_at_its_beginning_and_one_at_its_end() -> None:
    out = io.StringIO()
    progress = ProgressBars(out, iter([10.0, 72.4]).__next__)
    for done in range(4):
        progress("Converting weights", done, 3)
    assert out.getvalue() == "==> Converting weights\n==> Converting weights: took 62 s\n"


@pytest.mark.parametrize(("total", "shown"), [(3, "3/3"), (5 << 20, "5.24M/5.24M")])
def test_on_a_terminal_a_task_with_parts_is_a_bar(total: int, shown: str) -> None:
    out = Terminal()
    progress = ProgressBars(out)
    for done in (0, total - 1, total):
        progress("Converting weights", done, total)
    assert "==> Converting weights:" in out.getvalue()
    assert shown in out.getvalue()
    assert "took" not in out.getvalue()


def test_a_task_without_parts_is_lines_on_a_terminal_too() -> None:
    out = Terminal()
    progress = ProgressBars(out, iter([0.0, 5.0]).__next__)
    progress("Reading", 0, 1)
    progress("Reading", 1, 1)
    assert out.getvalue() == "==> Reading\n==> Reading: took 5 s\n"


def test_a_task_that_another_follows_or_that_fails_is_left_as_it_is() -> None:
    out = Terminal()
    progress = ProgressBars(out)
    progress("Downloading", 1, 3)
    progress("Converting", 1, 3)
    progress.close()
    progress.close()
    shown = out.getvalue()
    assert "1/3" in shown
    assert shown.index("Downloading") < shown.index("Converting")
    assert "3/3" not in shown
