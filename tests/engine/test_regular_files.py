"""Pipes, devices and folders with the names of a model's files: each is named at once, and never opened."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.cached import cached_models, find_model, pull_model
from engine.config import EngineSettings, ModelError
from engine.fetch import ensure_model
from engine.needs import look_at
from engine.regular_files import MAX_TEXT_BYTES, check_files
from engine.torch_engine import build_torch_engine, load_tokenizer
from tests.engine.tiny_chat import save_tiny_chat

READ = [
    *(
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ),
    *("special_tokens_map.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.model"),
    "additional_chat_templates/tool_use.jinja",
]
KINDS: dict[str, Callable[[Path], None]] = {
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_chat(tmp_path / "models" / "tiny-0123456789ab")


def put(path: Path, kind: str) -> Path:
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    KINDS[kind](path)
    return path


def refused(path: Path, kind: str) -> re.Pattern[str]:
    return re.compile(f"^{re.escape(str(path))}: {kind}, not a regular file; remove it")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READ)
def test_no_loader_opens_it(name: str, kind: str, folder: Path, tmp_path: Path) -> None:
    odd = put(folder / name, kind)
    for load in (
        lambda: ensure_model(folder, tmp_path, progress),
        lambda: look_at(folder, EngineSettings(), "tiny"),
        lambda: build_torch_engine(folder, EngineSettings(), "tiny"),
        lambda: load_tokenizer(folder),
        lambda: pull_model(str(folder), tmp_path / "cache", progress),
    ):
        with pytest.raises(ModelError, match=refused(odd, kind)):
            load()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_cached_model_is_listed_all_the_same(name: str, kind: str, folder: Path, tmp_path: Path) -> None:
    put(folder / name, kind)
    (listed,) = cached_models(tmp_path)
    assert (listed.name, listed.architecture, listed.dtype) == ("tiny", "unreadable", "unknown")
    with pytest.raises(ModelError, match="not a regular file"):
        look_at(find_model("tiny", tmp_path, progress), EngineSettings(), "tiny")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["tiny.gguf", "config.json", "tokenizer.json", "chat_template.jinja"])
def test_neither_a_gguf_nor_what_lies_beside_it_is_opened(name: str, kind: str, tmp_path: Path) -> None:
    gguf = tmp_path / "lies" / "tiny.gguf"
    gguf.parent.mkdir()
    gguf.touch()
    odd = put(gguf.parent / name, kind)
    for source in (gguf.parent, gguf.parent if gguf.is_dir() else gguf):  # a folder may be called so
        with pytest.raises(ModelError, match=refused(odd, kind)):
            ensure_model(source, tmp_path, progress)


def test_what_leads_nowhere_or_is_of_no_loader_is_left_alone(folder: Path) -> None:
    (folder / "added_tokens.json").symlink_to(folder / "nowhere")
    (folder / "circle.json").symlink_to(folder / "circle.json")
    os.mkfifo(folder / "log")
    check_files(folder)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "s.json"))
        with pytest.raises(ModelError, match=r"s\.json: a socket"):
            check_files(folder)


def progress(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total


def test_a_file_that_would_fill_the_memory_is_named(folder: Path) -> None:
    with (folder / "generation_config.json").open("wb") as file:
        file.truncate(MAX_TEXT_BYTES)
        check_files(folder)
        file.truncate(MAX_TEXT_BYTES + 1)
    with pytest.raises(ModelError, match=r"generation_config\.json: 134,217,729 bytes"):
        load_tokenizer(folder)
