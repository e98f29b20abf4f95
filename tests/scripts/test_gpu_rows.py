from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

from scripts.gpu_rows import Rows

ROOT = Path(__file__).parents[2]


def rows_in(path: Path, minutes: float = 1) -> Rows:
    return Rows(Namespace(json=path, minutes=minutes, row_minutes=1, device="cpu"), {"device": "none"})


def test_a_row_that_fails_and_one_that_never_ends_leave_the_others(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.scripts.hanging_rows", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())["rows"]
    assert rows["first"]["value"] == 1
    assert rows["fails"]["error"].startswith("ZeroDivisionError")
    assert "did not end" in rows["hangs"]["error"]
    assert rows["last"]["value"] == 3
    assert done.stdout.count("first") == 1  # what was found was not taken again


def test_each_row_is_in_the_file_before_the_next_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    rows = rows_in(path)
    rows.take("one", lambda: {"value": 2.0})
    assert rows.take("two", lambda: json.loads(path.read_text())["rows"]["one"])["value"] == 2
    assert rows.take("one", lambda: {"value": 3.0})["value"] == 2


def test_a_row_without_time_is_skipped(tmp_path: Path) -> None:
    assert rows_in(tmp_path / "rows.json", minutes=0).take("one", lambda: {"value": 1.0}) == {
        "skipped": "there was no time left"
    }
