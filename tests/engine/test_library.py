from __future__ import annotations

from pathlib import Path

import pytest

from engine import library
from engine.library import LibraryError, load_library

pytestmark = pytest.mark.native


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "answer.c"
    path.write_text("int answer(void) { return 42; }\n")
    return path


def libraries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "kept").glob("*"))


def test_it_is_compiled_once_and_says_so(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_library(source, (), tmp_path / "kept").answer() == 42
    (kept,) = libraries(tmp_path)
    begun, ended = capsys.readouterr().err.splitlines()
    assert begun == "==> Compiling answer.c for this processor, once"
    assert ended.startswith(begun)
    monkeypatch.setenv("PATH", "")
    assert load_library(source, (), tmp_path / "kept").answer() == 42
    assert capsys.readouterr().err == ""
    assert libraries(tmp_path) == [kept]


def test_a_changed_source_is_compiled_anew(source: Path, tmp_path: Path) -> None:
    load_library(source, (), tmp_path / "kept")
    source.write_text("int answer(void) { return 43; }\n")
    assert load_library(source, (), tmp_path / "kept").answer() == 43
    assert len(libraries(tmp_path)) == 2


def test_a_processor_without_a_feature(source: Path, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="the processor lacks quantum"):
        load_library(source, ("quantum",), tmp_path / "kept")


def test_no_compiler(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(library, "_PACKAGED", "no_such_compiler")
    with pytest.raises(LibraryError, match="there is no C compiler here; install gcc, or no_such_compiler"):
        load_library(source, (), tmp_path / "kept")


def test_without_a_compiler_of_the_machine_a_package_brings_one(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any package whose `cc` takes a compiler's arguments; here one that hands them to the machine's own."""
    own = library.find_compiler()
    assert own is not None
    (tmp_path / "packaged.py").write_text(
        f"import subprocess, sys\nassert sys.argv[1] == 'cc'\nsys.exit(subprocess.call({own!r} + sys.argv[2:]))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(library, "_PACKAGED", "packaged")
    monkeypatch.setattr(library, "_COMPILERS", ())
    assert load_library(source, (), tmp_path / "kept").answer() == 42


def test_a_source_that_the_compiler_refuses_leaves_nothing(source: Path, tmp_path: Path) -> None:
    source.write_text("#error too old\n")
    with pytest.raises(LibraryError, match=r"cannot compile: .*too old"):
        load_library(source, (), tmp_path / "kept")
    assert libraries(tmp_path) == []


def test_a_compiler_that_takes_too_long(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "gcc"
    compiler.write_text("#!/bin/sh\nwhile :; do :; done\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(library, "_COMPILE_TIMEOUT_S", 0.1)
    with pytest.raises(LibraryError, match="takes too long"):
        load_library(source, (), tmp_path / "kept")


def test_a_damaged_library(source: Path, tmp_path: Path) -> None:
    load_library(source, (), tmp_path / "kept")
    (kept,) = libraries(tmp_path)
    moved = tmp_path / "elsewhere" / kept.name
    moved.parent.mkdir()
    moved.write_bytes(b"no library")
    with pytest.raises(LibraryError, match="delete it or mend its folder"):
        load_library(source, (), moved.parent)


def test_a_folder_that_cannot_be_made(source: Path, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="mend its folder"):
        load_library(source, (), source / "kept")
