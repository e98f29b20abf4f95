"""Finding the programs that tests drive."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import external


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all of PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def put(path: Path, name: str, says: str = "") -> str:
    program = path / name
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    return str(program)


def test_nothing_is_found_on_an_empty_machine(path: Path) -> None:
    assert external.find_redis_server() is None
    assert external.find_chromium() is None
    assert external.find_node() is None


def test_chromium_by_any_of_its_names(path: Path) -> None:
    other = put(path, "google-chrome")
    assert external.find_chromium() == other
    first = put(path, "chromium")
    assert external.find_chromium() == first


@pytest.mark.parametrize(
    ("version", "fits"), [("v20.0.0", True), ("v24.1.0", True), ("v18.9.9", False), ("?", False)]
)
def test_node_of_a_version_that_will_do(path: Path, version: str, fits: bool) -> None:
    node = put(path, "node", version)
    assert external.find_node() == (node if fits else None)


def test_npm_packages_are_there_once_each_locked_folder_has_them(tmp_path: Path) -> None:
    client = tmp_path / "clients" / "js"
    client.mkdir(parents=True)
    (client / "package-lock.json").write_text("{}")
    (tmp_path / "package-lock.json").write_text("{}")
    assert external.npm_folders(tmp_path) == [tmp_path, client]
    (tmp_path / "node_modules").mkdir()
    assert external.find_npm_packages(tmp_path) is None
    (client / "node_modules").mkdir()
    assert external.find_npm_packages(tmp_path) == str(tmp_path / "node_modules")
