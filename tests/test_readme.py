"""What the README tells a newcomer to type runs as it stands."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import Config
from app.settings import from_argv, settings_of
from tests.app.web.serving import KEY, Served, served
from tests.engine.tiny_chat import save_tiny_chat

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
QUESTION = "What is the capital of France?"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[list[str]]:
    """The words after `program` of each shell line that calls it, comments left out."""
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [each[1:] for each in words if each and each[0].rpartition("/")[2] == program]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    cache = str(tmp_path_factory.mktemp("cache"))
    with served(
        tmp_path_factory.mktemp("served"), SLUICE_SCRIPTED_TOKENS_PER_S="20", SLUICE_CACHE_DIR=cache
    ) as running:
        yield running


def surroundings(server: Served) -> dict[str, str]:
    return {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": KEY}


def said_by(snippet: str, server: Served) -> str:
    """What a snippet prints; it must end by itself, and well."""
    run = subprocess.run(
        [sys.executable, "-c", snippet],
        env=os.environ | surroundings(server),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_socket_snippet_prints_the_reply(server: Served) -> None:
    assert said_by(blocks("python")[0], server) == QUESTION


def test_the_http_snippet_prints_a_reply_and_streams_what_continues_it(server: Served) -> None:
    assert said_by(blocks("python")[1], server) == f"{QUESTION}\nAnd of Italy?"


def test_the_lanes_snippet_ends_both(server: Served) -> None:
    a, b = sorted(said_by(blocks("python")[2], server).splitlines())
    assert a == "a completed"
    assert b in ("b cancelled", "b completed")  # an echo of three words may end before its cancel comes


def test_there_is_no_snippet_that_is_not_run() -> None:
    assert len(blocks("python")) == 3


def test_the_curl_command_streams_the_reply(server: Served) -> None:
    (words,) = commands("curl")
    expanded = [re.sub(r"\$(\w+)", lambda match: surroundings(server)[match[1]], word) for word in words]
    options = dict(zip(expanded[2::2], expanded[3::2], strict=True))
    assert (expanded[0], set(options)) == ("-N", {"-d", "-H"})
    name, _, value = options["-H"].partition(": ")
    request = urllib.request.Request(expanded[1], options["-d"].encode(), {name: value})
    with urllib.request.urlopen(request, timeout=20) as answer:
        data = [line[6:] for line in answer.read().decode().splitlines() if line.startswith("data: ")]
    assert "".join(json.loads(each).get("delta", "") for each in data) == QUESTION


def test_the_key_commands_make_list_and_revoke(server: Served) -> None:
    create, *rest = [words[1:] for words in commands("sluice") if words[0] == "keys"]
    key_id = server.keys(*create).split("_")[2]
    told = [server.keys(*[key_id if word == "ID" else word for word in words]) for words in rest]
    assert [words[0] for words in rest] == ["list", "revoke"]
    assert key_id in told[0]
    assert told[1] == f"revoked {key_id}\n"


def test_the_model_commands_pull_load_and_unload(server: Served, tmp_path: Path) -> None:
    folder = save_tiny_chat(tmp_path / "tiny")
    pull, load, unload = [words for words in commands("sluice") if words[0] == "models"]
    assert pull.pop() == "/path/to/folder-or.gguf"
    assert load.pop() == "NAME"
    assert server.sluice(*pull, str(folder)).splitlines()[1].startswith("tiny  ")
    assert server.sluice(*load, "tiny").startswith(f"{load[-1]} is ready")
    assert server.sluice("models", "list").endswith("  tiny\n")
    assert server.sluice(*unload) == f"unloaded {unload[-1]}\n"
    left = [line.split()[:2] for line in server.sluice("models", "list").splitlines()]
    assert [left[1][0], left[-1]] == ["tiny", ["scripted", "ready"]]


def test_every_target_of_make_is_one() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"(?<=`)make (?:[A-Z]+=\S+ )?([a-z]+)", README))
    named |= {words[0] for words in commands("make")}
    assert named >= {"run", "test", "check"}
    assert {target for target in named if f"\n{target}:" not in makefile} == set()


def test_every_setting_is_one() -> None:
    settings = settings_of(Config)
    variables = set(re.findall(r"SLUICE_[A-Z_]+", README))
    assert variables - {one.variable for one in settings.values()} == set()
    arguments = re.findall(r'ARGS="([^"]+)"', README)
    assert arguments
    for each in arguments:
        assert from_argv(settings, shlex.split(each), ROOT)


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
