"""`make run` and its sisters, with the server and pytest replaced by scripts that note their calls."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts.machine import Machine, make_machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return make_machine(tmp_path)


def serving(machine: Machine, then: str = "") -> None:
    machine.setup("dev")
    machine.setup("run")
    machine.program(machine.venv_python.with_name("sluice"), then)


def test_run_serves_with_the_arguments_given(machine: Machine) -> None:
    serving(machine)
    assert machine.make("run", "ARGS=--port 9000").returncode == 0
    assert machine.calls[-1] == "sluice serve --port 9000"


def test_second_run_starts_the_server_and_nothing_else(machine: Machine) -> None:
    serving(machine)
    before = machine.calls
    machine.make("run")
    assert machine.calls == [*before, "sluice serve"]


def test_run_sets_up_first_where_it_must(machine: Machine) -> None:
    machine.program(machine.venv_python.with_name("sluice"))
    assert machine.make("run").returncode == 0
    assert machine.calls[0].startswith("python -c")
    assert machine.calls[-1] == "sluice serve"


def test_run_does_not_serve_after_a_set_up_that_failed(machine: Machine) -> None:
    machine.program(machine.venv_python.with_name("sluice"))
    machine.program(machine.venv_python, 'case "$*" in *torch) exit 1;; esac')
    assert machine.make("run").returncode != 0
    assert not any(call.startswith("sluice") for call in machine.calls)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_server_as_one_process_that_make_waits_for(
    machine: Machine, signal_number: signal.Signals
) -> None:
    script = machine.folder / "server.py"
    script.write_text(
        "import os, signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})\n"
        "print('parent', os.getppid(), flush=True)\n"
        "print('got', signal.sigwait({signal.SIGINT, signal.SIGTERM}), flush=True)\n"
    )
    serving(machine, f"exec {sys.executable} {script}")
    made = subprocess.Popen(
        ["make", "run"],
        cwd=machine.folder,
        env=machine.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    with made:
        assert made.stdout is not None
        assert made.stdout.readline() == f"parent {made.pid}\n"  # no shell stays between
        if signal_number == signal.SIGINT:
            os.killpg(made.pid, signal.SIGINT)  # as a terminal sends it
        else:
            made.terminate()  # as an orchestrator sends it
        assert made.stdout.read().startswith(f"got {int(signal_number)}\n")
    with pytest.raises(ProcessLookupError):
        os.killpg(made.pid, 0)


def test_continuous_integration_requires_all_and_measures_coverage(machine: Machine) -> None:
    serving(machine)
    for name in ("redis-server", "chromium", "npm"):
        machine.tool(name)
    machine.tool("node", "echo v20.1.0")
    (machine.folder / "node_modules").mkdir()
    assert machine.make("test", "REQUIRE_ALL=1", "COVERAGE=1").returncode == 0
    main, fuzz = [call for call in machine.calls if "-m pytest" in call]
    assert "--require-all" in main
    assert "-m not fuzz" in main
    assert "--cov" in main
    assert "--require-all" in fuzz
    assert "-m fuzz" in fuzz
    assert "--fuzz-cases=100000" in fuzz
    assert "--cov" not in fuzz


def test_a_failed_test_fails_make(machine: Machine) -> None:
    serving(machine)
    machine.program(machine.venv_python, 'case "$*" in *pytest*) exit 1;; esac')
    assert machine.make("test").returncode != 0
