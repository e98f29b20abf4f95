from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from loadtest.__main__ import main
from loadtest.report import number, table
from tests.app.serving import KEY, serving


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLUICE_KEY", raising=False)


@pytest.mark.anyio
async def test_a_chat_prints_a_table_and_writes_reports_without_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, page = tmp_path / "report.json", tmp_path / "report.html"
    async with serving() as served:
        words = (
            f"chat --url {served.ws}/v1/responses --key {KEY} --streams 1,2 --turns 1 --rounds 1 --pause-s 0 "
            f"--max-tokens 6 --json {report} --html {page}"
        )
        code = await asyncio.to_thread(main, words.split())
    out, progress = capsys.readouterr()
    assert code == 0
    assert "tokens/s" in out
    assert "6/6" in progress
    written = msgspec.json.decode(report.read_bytes())
    assert written["scenario"] == "chat"
    assert [case["plan"] for case in written["figures"]["cases"]] == ["1 stream", "2 streams"]
    assert written["machine"]["cores"] >= 1
    assert "--key KEY" in written["command"]
    assert "--seed" in written["command"]  # which was not given: the run can be repeated
    assert "<svg" in page.read_text()
    assert KEY not in report.read_text() + page.read_text() + out


@pytest.mark.anyio
async def test_two_servers_are_set_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving() as served:
        words = f"intrude --streams 2 --long-words 30 --rounds 1 --pause-s 0 --max-tokens 60 --key {KEY} --key={KEY}"
        both = ["--compare", f"socket={served.ws}", f"completions={served.http}/v1"]
        code = await asyncio.to_thread(main, [*words.split(), *both])
    out = capsys.readouterr().out
    assert "socket / completions" in out
    assert "longest gap ms" in out
    assert code in (0, 1)  # nothing holds a scripted stream back until the long prompt's first text


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("open --rates 500 --chats 4", "500 chats/s arriving"),
        ("type --words 3 --keys-per-s 500", "1 user typing 3 words"),
        ("chat --streams 2 --turns 2 --opening-words 20 --store", "2 streams, chats of 2 turns"),
        ("chat --streams 1 --task repeat", "1 stream, repeating a text"),
        ("open --rates 500 --chats 2 --task repeat", "500 chats/s arriving, repeating a text"),
    ],
)
async def test_every_kind_of_load_runs_with_the_key_of_the_environment(
    words: str, named: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_KEY", KEY)
    async with serving() as served:
        given = [
            *words.split(),
            "--rounds",
            "1",
            "--pause-s",
            "0",
            "--max-tokens",
            "4",
            "--url",
            f"{served.ws}/v1/responses",
        ]
        code = await asyncio.to_thread(main, given)
    assert code == 0
    assert f"{named}:" in capsys.readouterr().out


@pytest.mark.anyio
async def test_faults_are_named_and_are_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving() as served:
        words = f"chat --url {served.ws} --key=wrong-key-of-no-one --streams 1 --rounds 1 --pause-s 0"
        code = await asyncio.to_thread(main, words.split())
    assert code == 1
    assert "2 x unauthorized" in capsys.readouterr().out


def test_a_server_started_for_the_run_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "chat --serve --set SLUICE_ENGINE=scripted --set SLUICE_SCRIPTED_TOKENS_PER_S=0 --streams 1 --turns 1"
    )
    assert main([*words.split(), "--rounds", "1", "--pause-s", "0", "--max-tokens", "3"]) == 0
    assert "| tokens/s " in capsys.readouterr().out


def test_a_server_that_does_not_start_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "--serve", "--set", "SLUICE_ENGINE=no-such-engine"]) == 1
    assert "no-such-engine" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_what_it_started(number: signal.Signals) -> None:
    words = "chat --serve --set SLUICE_ENGINE=scripted --streams 1 --rounds 100 --max-tokens 1000"
    run = subprocess.Popen(
        [sys.executable, "-m", "loadtest", *words.split()], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert run.stderr is not None
    said = b""
    while b"0/101" not in said:  # the server has started, the turns begin
        said += os.read(run.stderr.fileno(), 4096)
    (server,) = map(int, Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split())
    run.send_signal(number)
    _, rest = run.communicate()
    assert run.returncode == 130
    assert b"interrupted" in rest
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("chat --url ws://10.1.2.3:8000/v1/responses --key k", "not this machine"),
        ("chat --compare http://127.0.0.1:1 http://10.1.2.3:1", "not this machine"),
        ("chat --url ws://127.0.0.1:1/v1/responses", "a key is needed"),
        ("chat --url ws://127.0.0.1:1 --key k --set SLUICE_PORT=1", "--set is for"),
        ("chat --url ws://127.0.0.1:1 --key k --key l", "more keys than addresses"),
        ("chat --key k", "name a server"),
        ("chat --url http://127.0.0.1:1", "does not answer"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "",
        "chat --url ws://127.0.0.1 --serve",
        "chat --serve --streams 0",
        "chat --serve --streams 1000000",
        "chat --serve --opening-words -1",
        "open --serve --rates 0",
        "chat --serve --set PORT=1",
        "hub --seconds 1000",
    ],
)
def test_a_wrong_command_line_is_explained(words: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words.split())
    assert exit_.value.code == 2


def test_the_hub_is_measured_against_the_bare_loop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    words = "hub --rounds 1 --seconds 0.3 --sockets 3 --paced-sockets 3 --idle-connections 20 --json"
    assert main([*words.split(), str(report)]) == 0
    written = msgspec.json.decode(report.read_bytes())
    servers = {row["server"] for row in written["figures"]["rates"]}
    assert servers == {"raw", "raw-joined", "empty", "default"}
    assert all(row["frames_per_cpu_s"] > 0 for row in written["figures"]["rates"])
    assert all(row["frames_per_s"] > 0 for row in written["figures"]["paced"])
    # a bare loop of three sockets may cost less CPU than the clock of /proc can show: then there is no ratio
    assert all(goal["measured"] is not None for goal in written["goals"] if "CPU" not in goal["name"])
    out = capsys.readouterr().out
    assert "3 sockets, default policy" in out
    assert "idle connection" in out


def test_a_table_lines_up_and_shows_nothing_for_what_was_not_measured() -> None:
    shown = table(["what", "n"], [["a", number(1234.5)], ["long", number(None)]])
    assert shown.splitlines() == [
        "| what |       n |",
        "| ---- | ------: |",
        "| a    | 1,234.5 |",
        "| long |         |",
    ]
