"""`sluice keys`: with and without a running server, and what a revocation ends."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from app.__main__ import main
from app.store.valkey import EmbeddedValkey
from engine.scripted import ScriptedEngine
from tests.app.dialects import client_of
from tests.app.serving import Served, serving
from tests.app.talk import talking

KEY = re.compile(r"sluice_live_([0-9A-Za-z]{8})_[0-9A-Za-z]{46}")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The commands' state folder, in a clean environment."""
    folder = tmp_path / "state"
    monkeypatch.setenv("SLUICE_STATE_DIR", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


class Said:
    """What a command printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def by(self, *words: str, code: int = 0) -> str:
        """Run `sluice keys` and expect an exit code; its output, or its complaint."""
        assert main(["keys", *words]) == code
        out, err = self._capsys.readouterr()
        assert "Traceback" not in err
        return out if code == 0 else err


@pytest.fixture
def said(state: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


def listed(said: Said) -> dict[str, list[str]]:
    """Role, state and name of each key by its id; the date is today's, or yesterday's at midnight."""
    head, *rows = [line.split() for line in said.by("list").splitlines()]
    assert head == ["ID", "ROLE", "STATE", "MADE", "TENANT", "NAME"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", row[3]) for row in rows)
    return {row[0]: [row[1], row[2], row[5]] for row in rows}


def test_keys_are_made_listed_and_revoked_without_a_server(said: Said, state: Path) -> None:
    made = [
        said.by("create", "laptop"),
        said.by("create", "--role", "admin", "boss"),
        said.by("create", "--role=read-only"),
    ]
    ids = []
    for value in made:
        match = KEY.fullmatch(value.strip())
        assert match is not None
        ids.append(match[1])
    assert listed(said) == {
        ids[0]: ["developer", "valid", "laptop"],
        ids[1]: ["admin", "valid", "boss"],
        ids[2]: ["read-only", "valid", "unnamed"],
    }
    assert said.by("revoke", ids[1]) == f"revoked {ids[1]}\n"
    assert [states[1] for states in listed(said).values()].count("revoked") == 1
    assert listed(said)[ids[1]][1] == "revoked"
    assert all(value.strip() not in said.by("list") for value in made)
    for file in state.rglob("*"):
        if file.is_file():
            assert all(value.strip().encode() not in file.read_bytes() for value in made)


def test_a_key_is_made_for_the_tenant_that_is_named(said: Said) -> None:
    said.by("create", "shop", "--tenant", "acme")
    said.by("create", "home")
    tenants = {line.split()[5]: line.split()[4] for line in said.by("list").splitlines()[1:]}
    assert tenants == {"shop": "acme", "home": "default"}


def test_programs_get_the_list_as_json(said: Said) -> None:
    assert json.loads(said.by("list", "--json")) == []
    said.by("create", "shop front", "--tenant", "acme")
    said.by("revoke", json.loads(said.by("list", "--json"))[0]["id"])
    said.by("create", "home", "--role", "admin")
    shop, home = sorted(json.loads(said.by("list", "--json")), key=lambda key: key["state"])
    assert shop["revoked_at"] >= shop["created_at"] > 0
    del shop["id"], shop["created_at"], shop["revoked_at"]
    facts = {"role": "developer", "state": "revoked", "expires_at": None, "tenant": "acme"}
    assert shop == {**facts, "name": "shop front"}
    assert (home["name"], home["state"], home["revoked_at"]) == ("home", "valid", None)


def test_the_columns_of_the_list_stand_under_their_names(said: Said) -> None:
    said.by("create", "laptop", "--tenant", "a-tenant-of-long-name")
    said.by("create", "boss", "--role", "read-only")
    head, *lines = said.by("list").splitlines()
    at = [head.index(name) for name in ("ROLE", "STATE", "MADE", "TENANT", "NAME")]
    assert all(line[start - 1] == " " != line[start] for line in lines for start in at)


def test_a_key_that_is_not_there_cannot_be_revoked(said: Said) -> None:
    said.by("create")
    assert "there is no key 'nokey123'" in said.by("revoke", "nokey123", code=1)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["creat"], "there is no command 'creat'\n\nusage:"),
        (["revoke"], "revoke needs the key's id, which `sluice keys list` shows\n\nusage:"),
        (["list", "laptop"], "list takes no 'laptop'\n\nusage:"),
        (["create", "--role", "king"], "'king' is not a role"),
        (["create", "a", "b"], "unknown argument b"),
        (["create", "--role"], "--role"),
        (["create", "--tenant", "a/b"], "--tenant: 'a/b' is not a tenant's name"),
        (["create", "--tenant="], "--tenant: ''"),
        (["list", "--max-lanes", "many"], "--max-lanes"),
        (["list", "--redis-url", "http://x"], "--redis-url"),
    ],
)
def test_what_was_asked_wrong_is_named(said: Said, state: Path, words: list[str], complaint: str) -> None:
    assert complaint in said.by(*words, code=2)
    assert not state.exists()


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help_is_no_fault(said: Said, words: list[str]) -> None:
    assert said.by(*words).startswith("usage: sluice keys")


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize(
    ("verb", "told"),
    [
        ("create", ["NAME", "default: unnamed", "--role admin|developer|read-only", "default: developer"]),
        ("list", ["state"]),
        ("revoke", ["ID"]),
    ],
)
def test_each_verb_tells_its_options_and_their_defaults(
    said: Said, state: Path, verb: str, told: list[str], flag: str
) -> None:
    help = said.by(verb, flag)
    assert help.startswith(f"usage: sluice keys {verb} ")
    for part in [*told, "--state-dir PATH", "--redis-url TEXT", "SLUICE_MAX_LANES"]:
        assert part in help
    assert all(len(line) <= 120 for line in help.splitlines())
    assert said.by(verb, "laptop", flag) == help
    assert not state.exists()


def test_a_store_that_is_away_is_named(said: Said) -> None:
    away = said.by("list", "--redis-url", "redis://127.0.0.1:1", code=2)
    assert "SLUICE_REDIS_URL: the store that it names cannot be used (ConnectionError" in away


def test_keys_of_another_pepper_are_not_mixed_with_ours(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    said.by("create", "first")
    monkeypatch.setenv("SLUICE_KEY_PEPPER", "quite-another-pepper-of-long-length")
    assert "SLUICE_KEY_PEPPER" in said.by("create", "second", code=2)


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    async with serving(ScriptedEngine(tokens_per_s=20)) as server:
        monkeypatch.setenv("SLUICE_STATE_DIR", str(server.service.config.state_dir))
        yield server


async def sluice_keys(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The command beside the running server, as another process would run it."""
    assert await asyncio.to_thread(main, ["keys", *words]) == 0
    return capsys.readouterr().out


async def refused_everywhere(served: Served, code: str) -> None:
    """Until HTTP refuses the key."""
    async with client_of(served) as client, asyncio.timeout(10):
        while (answer := await client.get("/v1/models")).status_code == 200:
            await asyncio.sleep(0.05)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)


@pytest.mark.anyio
async def test_a_key_made_beside_a_running_server_works_and_its_revocation_ends_it(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    value = (await sluice_keys(capsys, "create", "laptop")).strip()
    key_id = value.split("_")[2]
    mine = replace(served, key=value)
    async with talking(mine) as talk, talking(served) as neighbour:
        assert (await talk.turn("hello"))[-1]["type"] == "response.completed"
        await talk.create("this one was running when the key was revoked")
        await talk.until("response.output_text.delta")
        assert key_id in await sluice_keys(capsys, "revoke", key_id)
        await refused_everywhere(mine, "revoked_api_key")
        assert (await talk.until("response.completed", "error"))[-1]["type"] == "response.completed"
        refusal = (await talk.turn("one more"))[-1]
        assert (refusal["status"], refusal["error"]["code"]) == (401, "revoked_api_key")
        with pytest.raises(ConnectionClosed) as closed:
            await talk.next()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        assert (await neighbour.turn("unharmed"))[-1]["type"] == "response.completed"


@pytest.mark.anyio
async def test_a_key_past_its_time_is_listed_as_expired(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    made = await served.service.auth.create_key("old", expires_at=1)
    _, line = (await sluice_keys(capsys, "list")).splitlines()
    assert line.split()[:3] == [made.record.id, "developer", "expired"]


@pytest.mark.anyio
async def test_a_revocation_ends_the_short_lived_keys_that_were_made_with_it(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    value = (await sluice_keys(capsys, "create", "website")).strip()
    async with client_of(replace(served, key=value)) as client:
        made = (await client.post("/v1/realtime/client_secrets", json={})).json()
    visitor = replace(served, key=made["value"])
    async with talking(visitor) as talk:
        assert (await talk.turn("hello"))[-1]["type"] == "response.completed"
        await sluice_keys(capsys, "revoke", value.split("_")[2])
        await refused_everywhere(replace(served, key=value), "revoked_api_key")
        assert (await talk.turn("one more"))[-1]["error"]["code"] == "revoked_api_key"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["create", "--rol", "admin"], "did you mean --role? `sluice keys --help` says what it takes"),
        (["create", "--role"], "--role needs a value; write --role=VALUE"),
        (["create", "my", "laptop"], "unknown argument laptop; `sluice keys --help`"),
        (["list", "--role", "admin"], "--role and --tenant are for `sluice keys create`"),
        (["revoke", "x", "--tenant=a"], "--role and --tenant are for `sluice keys create`"),
        (["create", "laptop", "--json"], "--json is for `sluice keys list`"),
    ],
)
def test_what_was_asked_wrong_is_told_where_the_right_words_are(
    said: Said, words: list[str], hint: str
) -> None:
    assert hint in said.by(*words, code=2)


@pytest.mark.parametrize("empty", [False, True])
def test_in_a_folder_that_no_server_had_there_are_no_keys(
    state: Path, empty: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if empty:
        state.mkdir()
    assert main(["keys", "list"]) == 0
    none = f"There are no keys in {state} yet: `sluice keys create` makes one; --state-dir names another"
    out, err = capsys.readouterr()
    assert (out, err.startswith(none)) == ("", True)
    assert main(["keys", "revoke", "x"]) == 2
    assert f"there are no keys in {state}: name a server's folder" in capsys.readouterr().err
    assert list(state.glob("*")) == []
    assert state.exists() is empty


@pytest.mark.anyio
async def test_a_store_without_keys_is_said_to_have_none(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with EmbeddedValkey(tmp_path / "store") as store:
        assert await asyncio.to_thread(main, ["keys", "list", "--redis-url", store.url]) == 0
    none = "There are no keys in the store of SLUICE_REDIS_URL yet: `sluice keys create` makes one.\n"
    assert capsys.readouterr() == ("", none)


def test_a_made_key_says_which_servers_take_it(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create"]) == 0
    told = capsys.readouterr().err
    assert "name unnamed, role developer, tenant default, " in told
    assert f"for servers of {state}." in told
