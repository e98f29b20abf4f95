"""The official npm SDK, unmodified, against the real server. The scenarios are in the `.mjs` files beside this one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.external import ROOT, find_node
from tests.app.policies import OUTPUT, rule, write_policy
from tests.app.web.serving import KEY, Served, served

pytestmark = pytest.mark.node

HERE = Path(__file__).resolve().parent
EXAMPLE = rule("custom/example", "block", OUTPUT, "forbidden phrase")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    policy = write_policy(folder, EXAMPLE, version="2026-11-22")
    with served(folder, SLUICE_POLICY=str(policy), SLUICE_SCRIPTED_TOKENS_PER_S="200") as running:
        yield running


@pytest.mark.parametrize("scenario", ["websocket", "http"])
def test_the_official_sdk(server: Served, scenario: str) -> None:
    node = find_node()
    assert node is not None
    run = subprocess.run(
        [node, "--test", "--test-reporter=spec", str(HERE / f"{scenario}.test.mjs")],
        cwd=ROOT,
        env=os.environ
        | {"SLUICE_TEST_URL": server.url, "SLUICE_TEST_KEY": KEY, "SLUICE_TEST_MODEL": _model(server)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    assert "\nℹ skipped 0\n" in run.stdout


def test_the_snippet_of_the_readme_prints_both_replies(server: Served) -> None:
    (snippet,) = re.findall(r"^```js\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    node = find_node()
    assert node is not None
    run = subprocess.run(
        [node, "--input-type=module", "-e", snippet],
        cwd=ROOT,
        env=os.environ | {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.stdout, run.stderr) == ("What is the capital of France?\nAnd of Italy?", "")


def test_the_lock_file_names_no_registry() -> None:
    assert "://" not in (ROOT / "package-lock.json").read_text()


def _model(server: Served) -> str:
    request = urllib.request.Request(f"{server.url}/v1/models", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        model: str = json.load(answer)["data"][0]["id"]
        return model
