"""The Dockerfile, read as a builder reads it: sources exist, stages lead to each other, nobody is root."""

from __future__ import annotations

import ast
import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "Dockerfile").read_text()
LINES = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", TEXT)).splitlines()
STEPS = [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in LINES if line]


def steps(name: str) -> list[str]:
    return [rest for step, rest in STEPS if step == name]


def last_stage() -> list[tuple[str, str]]:
    start = max(index for index, (step, _) in enumerate(STEPS) if step == "FROM")
    return STEPS[start:]


def copied() -> list[str]:
    """Paths of the build context that are copied into a stage."""
    return [source for rest in steps("COPY") if not rest.startswith("--from") for source in rest.split()[:-1]]


def reaches_the_builder(path: str) -> bool:
    """Whether .dockerignore lets a path through; the last line that matches it decides."""
    let_through = True
    for line in (ROOT / ".dockerignore").read_text().split():
        if fnmatch(path, line.removeprefix("!")):
            let_through = line.startswith("!")
    return let_through


def test_every_step_is_one_that_builders_know() -> None:
    known = {"ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "EXPOSE"}
    known |= {"HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    assert {step for step, _ in STEPS} <= known


@pytest.mark.parametrize("source", copied())
def test_what_is_copied_exists_and_reaches_the_builder(source: str) -> None:
    assert (ROOT / source).exists()
    assert reaches_the_builder(source)


def test_secrets_and_history_do_not_reach_the_builder() -> None:
    for path in (".git", ".env", ".venv", "node_modules", "sluice.toml", "tests"):
        assert not reaches_the_builder(path)


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
def test_each_variant_has_its_stages(variant: str) -> None:
    named: set[str] = set()
    for rest in steps("FROM"):
        base, _, name = rest.replace("${VARIANT}", variant).partition(" AS ")
        assert base in named or base == "python:${PYTHON_VERSION}-slim-bookworm"
        named.add(name)
    assert f"torch-{variant}" in named
    for rest in steps("COPY"):
        stage = re.match(r"--from=(\S+)", rest)
        assert stage is None or stage[1] in named


def test_every_installation_follows_the_constraints() -> None:
    installs = [part for rest in steps("RUN") for part in rest.split("&&") if "pip install" in part]
    assert len(installs) == 4
    assert all("--constraint constraints.txt" in part for part in installs)


def test_the_server_runs_as_nobody_in_particular() -> None:
    (user,) = [rest for step, rest in last_stage() if step == "USER"]
    assert user.split(":")[0] not in ("root", "0")
    order = [step for step, _ in last_stage()]
    assert order.index("USER") > max(index for index, step in enumerate(order) if step in ("RUN", "COPY"))


def test_it_says_whether_it_is_alive() -> None:
    (check,) = steps("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command[:2] == ["python", "-c"]
    assert "/healthz" in command[2]
    ast.parse(command[2])


def test_it_starts_the_server_without_a_shell_between() -> None:
    assert json.loads(steps("ENTRYPOINT")[0]) == ["sluice"]
    assert json.loads(steps("CMD")[0]) == ["serve"]


def test_state_and_models_outlive_the_container() -> None:
    volumes = json.loads(steps("VOLUME")[0])
    (env,) = [rest for step, rest in last_stage() if step == "ENV"]
    settings = dict(pair.split("=", 1) for pair in env.split())
    assert volumes == [settings["SLUICE_STATE_DIR"], settings["SLUICE_CACHE_DIR"]]
