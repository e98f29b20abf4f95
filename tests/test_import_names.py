"""`app`, `engine`, `protocol` and `loadtest` are ours alone in this environment, as are the tests' names."""

from __future__ import annotations

import importlib.util
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("app", "engine", "protocol", "loadtest")


@pytest.mark.parametrize("name", OURS)
def test_nothing_else_owns_the_import_name(name: str) -> None:
    owners = set(packages_distributions().get(name, []))
    assert owners <= {"sluice"}


@pytest.mark.parametrize("name", OURS)
def test_the_import_name_leads_to_this_tree(name: str) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin == str(ROOT / name / "__init__.py")


def test_every_folder_of_tests_is_a_package() -> None:
    """Without it two test files of one name, in two folders, shadow each other."""
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_every_folder_of_code_is_a_package() -> None:
    folders = {path.parent for name in OURS for path in (ROOT / name).rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []
