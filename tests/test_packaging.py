"""pyproject.toml, constraints.txt and the tree agree with each other."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.test_layers import imported_by

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = PYPROJECT["project"]
TOOL: dict[str, Any] = PYPROJECT["tool"]["setuptools"]
REQUIREMENTS = [
    Requirement(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
]
TREE = [
    path
    for root in ("protocol", "engine", "app", "loadtest")
    for path in (ROOT / root).rglob("*")
    if path.is_file() and path.suffix != ".pyc"
]
PIN = re.compile(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)")  # no hash, no address, no local build


def pin_lines() -> list[str]:
    return [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]


def pins() -> dict[str, Version]:
    found = [PIN.fullmatch(line) for line in pin_lines()]
    return {canonicalize_name(match[1]): Version(match[2]) for match in found if match}


def test_every_constraint_is_one_exact_version() -> None:
    assert [line for line in pin_lines() if not PIN.fullmatch(line)] == []
    assert len(pins()) == len(pin_lines())


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_a_requirement_is_pinned_within_its_range(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_the_build_tool_is_pinned_within_its_range() -> None:
    (build,) = map(Requirement, PYPROJECT["build-system"]["requires"])
    assert build.specifier.contains(pins()[build.name])


def needed(name: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """A distribution's requirements in this environment, all the way down."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(name, extras)]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for line in importlib.metadata.requires(current[0]) or []:
            requirement = Requirement(line)
            marked = [{"extra": extra} for extra in current[1]] or [{"extra": ""}]
            if requirement.marker is None or any(requirement.marker.evaluate(env) for env in marked):
                waiting.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return {found for found, _ in seen}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_all_that_a_requirement_brings_along_is_pinned_as_installed(requirement: Requirement) -> None:
    for name in needed(requirement.name, frozenset(requirement.extras)):
        assert name in pins(), f"{name} is not in constraints.txt"
        assert Version(importlib.metadata.version(name)).public == str(pins()[name])


IMPORTS = sorted(
    {
        (root, name)
        for root in ("protocol", "engine", "app", "loadtest", "scripts", "tests")
        for path in (ROOT / root).rglob("*.py")
        for name in imported_by(path.read_text())
        if name not in sys.stdlib_module_names and not (ROOT / name).is_dir()
        if "peers" not in path.parts  # other servers, each in an environment of its own
    }
)


@pytest.mark.parametrize(("root", "name"), IMPORTS)
def test_what_is_imported_is_asked_for(root: str, name: str) -> None:
    """Not only brought along by something else that was asked for, but for what torch has where it has a GPU."""
    for_tests = root in ("scripts", "tests") or name == "triton"
    asked = PROJECT["dependencies"] + (PROJECT["optional-dependencies"]["dev"] if for_tests else [])
    names = {canonicalize_name(Requirement(line).name) for line in asked}
    owners = {canonicalize_name(owner) for owner in importlib.metadata.packages_distributions().get(name, [])}
    assert owners & names


def test_transformers_stays_within_the_major_version_the_engine_knows() -> None:
    (transformers,) = [one for one in REQUIREMENTS if one.name == "transformers"]
    assert transformers.specifier.contains("5.17.0")
    assert not transformers.specifier.contains("5.16.9")
    assert not transformers.specifier.contains("6.0.0")


def test_torch_is_a_range_so_that_a_gpu_machine_may_bring_its_own() -> None:
    (torch,) = [one for one in REQUIREMENTS if one.name == "torch"]
    assert torch.specifier.contains("2.99.0")
    assert pins()["torch"] == Version("2.13.0")


def test_every_folder_of_the_tree_is_installed() -> None:
    names = {".".join(path.parent.relative_to(ROOT).parts) for path in TREE}
    assert set(TOOL["packages"]) == names
    assert len(TOOL["packages"]) == len(names)


def test_every_file_beside_the_code_is_installed_with_it() -> None:
    left_out = {path for path in TREE if path.suffix != ".py"}
    for package, shapes in TOOL["package-data"].items():
        folder = ROOT / package.replace(".", "/")
        # setuptools reads `**/` as any number of folders, none included
        globs = [f"{folder}/{each}" for shape in shapes for each in (shape, shape.replace("**/", ""))]
        left_out = {path for path in left_out if not any(fnmatch(str(path), each) for each in globs)}
    assert left_out == set()


def test_the_package_cannot_be_published_by_mistake() -> None:
    assert "Private :: Do Not Upload" in PROJECT["classifiers"]
    assert PROJECT["name"] == "sluice"
    assert PROJECT["license"] == "Apache-2.0"


def test_the_licence_is_the_whole_apache_text() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert all(f"\n   {clause}. " in text for clause in range(1, 10))
