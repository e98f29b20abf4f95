"""Which sources an admin may have loaded while the server runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.config import Config
from app.model_sources import allowed_source
from engine.cached import pull_model
from engine.fetch import DEFAULT_MODEL
from protocol.codes import ProtocolError
from tests.app.dialects import client_of
from tests.app.serving import config_for, serving
from tests.engine.tiny_chat import save_tiny_chat


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return save_tiny_chat(tmp_path / "models" / "tiny").parent


@pytest.fixture
def config(tmp_path: Path, home: Path) -> Config:
    return config_for(tmp_path / "state", cache_dir=tmp_path / "cache", model_dirs=home)


def refused(source: str, config: Config) -> str:
    with pytest.raises(ProtocolError) as error:
        allowed_source(source, config)
    assert (error.value.code, error.value.param) == ("invalid_value", "source")
    return str(error.value)


def test_a_named_folder_holds_what_may_be_loaded(config: Config, home: Path) -> None:
    for source in ("tiny", "./tiny", "../models/tiny", str(home / "tiny"), f"{home}/other/../tiny"):
        assert allowed_source(source, config) == str(home / "tiny")
    weights = home / "tiny" / "model.safetensors"
    assert allowed_source("tiny/model.safetensors", config) == str(weights), "what it is, its reader says"


def test_names_need_no_folder(tmp_path: Path) -> None:
    config = config_for(tmp_path / "state", cache_dir=tmp_path / "cache")
    folder = save_tiny_chat(tmp_path / "small")
    assert refused("small", config) == refused(str(folder), config)
    cached = pull_model(str(folder), config.cache_dir, lambda *_: None)
    for source in ("small", "scripted", DEFAULT_MODEL):
        assert allowed_source(source, config) == source
    assert allowed_source(str(cached), config) == str(cached)


def test_what_the_server_was_started_with_may_be_loaded_again(tmp_path: Path) -> None:
    first, second = (save_tiny_chat(tmp_path / name) for name in ("first", "second"))
    config = config_for(tmp_path / "state", model=first, models=f"a={second},b=scripted")
    for folder in (first, second):
        assert allowed_source(str(folder), config) == str(folder)
    refused(str(first / "model.safetensors"), config)
    refused(str(tmp_path), config)


def test_what_lies_elsewhere_is_refused_in_the_same_words_whether_it_is_there_or_not(
    config: Config, home: Path, tmp_path: Path
) -> None:
    outside = save_tiny_chat(tmp_path / "models2" / "outside")
    (home / "link").symlink_to(outside)
    (home / "inner").mkdir()
    (home / "inner" / "model.safetensors").symlink_to(outside / "model.safetensors")
    (home / "deep" / "templates").mkdir(parents=True)
    (home / "deep" / "templates" / "chat.jinja").symlink_to("/etc/passwd")
    (home / "circle").symlink_to(home / "circle")
    (home / "piped").mkdir()
    os.mkfifo(home / "piped" / "model.safetensors")
    sources = ["link", "inner", "deep", "circle", "piped", "piped/model.safetensors"]
    sources += ["nowhere", "../models2/outside", str(outside), "/", "/etc"]
    sources += ["tiny\0", "x" * 4000, "~", "~nouser/x", "tiny/../../models2/outside", ".."]
    (message,) = {refused(source, config) for source in sources}
    assert f"(SLUICE_MODEL_DIRS: {home})" in message


def test_a_link_within_the_named_folders_is_followed(config: Config, home: Path) -> None:
    (home / "snapshot").mkdir()
    for name in os.listdir(home / "tiny"):
        (home / "snapshot" / name).symlink_to(home / "tiny" / name)
    assert allowed_source("snapshot", config) == str(home / "snapshot")
    (home / "alias").symlink_to(home / "tiny")
    assert allowed_source("alias", config) == str(home / "tiny")


@pytest.mark.anyio
async def test_the_route_asks_before_anything_is_read(tmp_path: Path) -> None:
    outside = save_tiny_chat(tmp_path / "outside")
    async with serving() as served, client_of(served) as client:
        answer = await client.put("/v1/admin/models/mine", json={"source": str(outside)})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_value", "source")
        assert "(SLUICE_MODEL_DIRS: none)" in error["message"]
        assert [one["id"] for one in (await client.get("/v1/admin/models")).json()["data"]] == ["scripted"]
