"""`sluice models`: the cache without a server, and the models of one that runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.__main__ import main
from app.running_server import RunningServer, announce, find_server, withdraw
from tests.app.dialects import take_turn
from tests.app.serving import KEY, Served, serving
from tests.app.test_models import Gate
from tests.engine.tiny_chat import save_tiny_chat
from tests.engine.tiny_gguf import write_gguf
from tests.engine.tiny_models import save_tiny


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where state and cache are, in a clean environment."""
    monkeypatch.setenv("SLUICE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("SLUICE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Said:
    """What the command printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def by(self, *words: str, code: int = 0) -> str:
        """Run `sluice models` and expect an exit code; its output, or its complaint."""
        assert main(["models", *words]) == code
        out, err = self._capsys.readouterr()
        assert "Traceback" not in err
        return out if code == 0 else err

    async def beside(self, *words: str, code: int = 0) -> str:
        """The same beside a server in this process."""
        return await asyncio.to_thread(self.by, *words, code=code)


@pytest.fixture
def said(folder: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


def test_models_are_pulled_and_listed_without_a_server(said: Said, folder: Path) -> None:
    tiny = save_tiny_chat(folder / "tiny.v1")
    gguf = write_gguf(save_tiny("llama", folder / "source"), folder / "small.gguf", "llama")
    assert said.by("list") == ""
    pulled = said.by("pull", "tiny.v1")
    head, line = (line.split() for line in pulled.splitlines())
    assert head[0] == "CACHED"
    assert (line[0], line[-2]) == ("tiny.v1", "f32")
    assert Path(line[-1]).is_relative_to(folder / "cache")
    assert said.by("pull", str(gguf)).splitlines()[1].startswith("small  ")
    assert [line.split()[0] for line in said.by("list").splitlines()] == ["CACHED", "small", "tiny.v1"]
    assert said.by("pull", str(tiny)) == pulled, "it is there already"
    assert not (folder / "state").exists()


def test_of_several_versions_the_newest_is_listed_first(said: Said, folder: Path) -> None:
    for number in range(2):
        save_tiny_chat(folder / f"{number}" / "tiny", num_hidden_layers=number + 1)
        said.by("pull", f"{number}/tiny")
    sizes = [float(line.split()[1]) for line in said.by("list").splitlines()[1:]]
    assert len(sizes) == 2
    assert sizes[0] > sizes[1]


def test_a_folder_that_cannot_be_loaded_is_not_pulled(said: Said, folder: Path) -> None:
    bad = save_tiny_chat(folder / "bad")
    (bad / "config.json").write_text("null")
    assert f"{bad / 'config.json'}: not a JSON object" in said.by("pull", str(bad), code=1)
    assert said.by("list") == ""


READY = 'mine is ready: requests that say "model": "mine" get it\n'
IMPOSSIBLE = [("~nouser/x", "home directory"), ("x" * 4000, "File name too long")]


@pytest.mark.parametrize(("source", "fault"), IMPOSSIBLE, ids=["home", "long"])
def test_a_path_that_cannot_be_is_not_pulled(said: Said, source: str, fault: str) -> None:
    refused = said.by("pull", source, code=1)
    assert fault in refused
    assert len(refused) < 300


@pytest.mark.parametrize("name", ["somebody/some-model", "./nowhere"])
def test_there_is_no_hub_to_pull_from(said: Said, name: str) -> None:
    assert "there is no model hub to fetch it from" in said.by("pull", name, code=1)


def test_what_was_cut_short_does_not_come_into_the_cache(said: Said, folder: Path) -> None:
    weights = save_tiny_chat(folder / "cut") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "not a readable safetensors file" in said.by("pull", "cut", code=1)
    assert said.by("list") == ""


def test_a_model_in_the_cache_that_was_damaged_is_listed_as_such(said: Said, folder: Path) -> None:
    save_tiny_chat(folder / "tiny")
    copy = Path(said.by("pull", "tiny").split()[-1])
    (copy / "config.json").write_text("[]")
    assert "unreadable" in said.by("list")


@pytest.mark.parametrize("words", [["load", "a", "b"], ["unload", "a"]])
def test_without_a_server_there_is_nobody_to_load(said: Said, words: list[str]) -> None:
    assert "no server runs on" in said.by(*words, code=1)


def test_a_server_that_was_killed_left_word_that_leads_nowhere(said: Said, folder: Path) -> None:
    announce(folder / "state", RunningServer("http://127.0.0.1:1", "key"))
    assert "does not answer" in said.by("unload", "a", code=1)
    assert said.by("list") == ""
    withdraw(folder / "state", "another's")
    assert "does not answer" in said.by("unload", "a", code=1), "the word of one that is still there stays"
    withdraw(folder / "state", "key")
    assert find_server(folder / "state") is None
    withdraw(folder / "state", "key")


@pytest.mark.anyio
async def test_a_stranger_at_the_address_that_was_left_is_no_server_of_this_folder(
    served: Served, said: Said
) -> None:
    for key in ("nobody's", KEY[:-1]):
        announce(served.service.config.state_dir, RunningServer(served.http, key))
        refused = await said.beside("load", "a", "scripted", code=1)
        assert "is not the server that left word in the state folder" in refused
        assert "--state-dir" in refused


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"detail": "Not Found"}', b'{"error": "no"}'])
async def test_another_program_at_the_address_is_none_either(said: Said, folder: Path, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        announce(folder / "state", RunningServer(f"http://127.0.0.1:{port}", "key"))
        assert "is not the server that left word" in await said.beside("unload", "a", code=1)
        assert await said.beside("list") == ""


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["pull"],
        ["load", "a"],
        ["load", "--state-dir", "x"],
        ["unload"],
        ["list", "--no"],
        ["unload", "a", "--json"],
    ],
)
def test_what_was_asked_wrong_is_named(said: Said, words: list[str]) -> None:
    assert said.by(*words, code=2).strip()


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["nix"], "there is no command 'nix'"),
        (["pull"], "pull needs a model's name or path"),
        (["load"], "load needs an id and a model's name or path"),
        (["load", "a"], "load needs a model's name or path"),
        (["unload", "--json"], "unload needs an id"),
    ],
)
def test_what_a_command_lacks_is_named(said: Said, words: list[str], fault: str) -> None:
    assert said.by(*words, code=2).startswith(f"sluice models: {fault}\n\nusage:")


@pytest.mark.parametrize("words", [[], ["-h"], ["load", "--help"]])
def test_help_is_no_fault(said: Said, words: list[str]) -> None:
    assert said.by(*words).startswith("usage: sluice models list")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


@pytest.fixture
async def served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """A server that left word, as `sluice serve` does it."""
    (folder / "allowed").mkdir()
    settings = {"cache_dir": folder / "cache", "dtype": "float32", "kv_memory_mib": 16}
    async with serving(**settings, model_dirs=folder / "allowed") as server:
        config = server.service.config
        monkeypatch.setenv("SLUICE_STATE_DIR", str(config.state_dir))
        announce(config.state_dir, RunningServer(server.http, server.service.operator_key))
        yield server


@pytest.mark.anyio
@pytest.mark.parametrize(("source", "fault"), IMPOSSIBLE, ids=["home", "long"])
async def test_a_path_that_cannot_be_is_not_loaded(
    served: Served, said: Said, source: str, fault: str
) -> None:
    assert fault in await said.beside("load", "z", source, code=1)


@pytest.mark.anyio
async def test_a_model_is_loaded_by_its_name_in_the_cache_and_unloaded(
    served: Served, said: Said, folder: Path
) -> None:
    save_tiny_chat(folder / "tiny")
    await said.beside("pull", "tiny")
    (folder / "tiny").rename(folder / "moved")
    assert await said.beside("load", "mine", "tiny") == READY
    outcome = await take_turn(served, "json", "hello", model="mine", max_output_tokens=3, ignore_eos=True)
    assert outcome.end == "length"
    cached, served_ = (await said.beside("list")).split("\n\n")
    assert [line.split()[0] for line in cached.splitlines()] == ["CACHED", "tiny"]
    lines = [line.split()[:2] for line in served_.splitlines()]
    assert lines == [["SERVED", "STATE"], ["scripted", "ready"], ["mine", "ready"]]
    told = json.loads(await said.beside("list", "--json"))
    assert [one["name"] for one in told["cached"]] == ["tiny"]
    assert [(one["id"], one["state"], one["source"]) for one in told["served"]] == [
        ("scripted", "ready", "scripted"),
        ("mine", "ready", "tiny"),
    ]
    assert await said.beside("unload", "mine") == "unloaded mine\n"


@pytest.mark.anyio
async def test_who_does_not_wait_for_a_model_is_told_where_to_see_it(
    gate: Gate, served: Served, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        gate.asked.wait(20)
        raise KeyboardInterrupt

    monkeypatch.setattr("app.models_command.time.sleep", interrupt)
    told = await said.beside("load", "mine", "scripted", code=1)
    assert told.endswith(
        "sluice models: the server goes on loading mine: `sluice models list` shows how far it is\n"
    )
    assert "loading, 30 %" in await said.beside("list")
    gate.open.set()


@pytest.mark.anyio
async def test_a_path_is_meant_where_the_command_stands(served: Served, said: Said, folder: Path) -> None:
    save_tiny_chat(folder / "allowed" / "tiny")
    await said.beside("load", "mine", "allowed/tiny")
    assert str(folder / "allowed" / "tiny") in await said.beside("list")


@pytest.mark.anyio
async def test_a_path_that_the_operator_did_not_name_is_refused_with_the_ways_out(
    served: Served, said: Said, folder: Path
) -> None:
    save_tiny_chat(folder / "tiny")
    for source in ("tiny", "./nowhere", "somebody/some-model"):
        refused = await said.beside("load", "mine", source, code=1)
        assert f"SLUICE_MODEL_DIRS: {folder / 'allowed'}" in refused
        assert "`sluice models pull`" in refused
    await said.beside("pull", "tiny")
    assert await said.beside("load", "mine", "tiny", code=1), "the path is meant, as it is there"
    (folder / "tiny").rename(folder / "moved")
    assert await said.beside("load", "mine", "tiny") == READY


@pytest.mark.anyio
async def test_what_the_server_refuses_is_said(served: Served, said: Said) -> None:
    assert "letters, digits" in await said.beside("load", "a:b", "scripted", code=1)
    assert "stays while the server runs" in await said.beside("unload", "scripted", code=1)
    assert await said.beside("load", "mine", "scripted") == READY


@pytest.mark.anyio
async def test_the_word_that_is_left_is_readable_by_its_owner_alone_and_opens_no_turns(
    served: Served,
) -> None:
    state = served.service.config.state_dir
    assert (state / "server.json").stat().st_mode & 0o077 == 0
    found = find_server(state)
    assert found is not None
    as_operator = Served(served.service, served.server, found.key)
    outcome = await take_turn(as_operator, "json", "hello")
    assert (outcome.code, outcome.status) == ("insufficient_scope", 403)
