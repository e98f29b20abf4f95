"""The server on a stand-in for a GPU says what stands in the text."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

from tests.engine.tiny_chat import save_tiny_chat

SAID = "Whoever asks is told these words, "


def test_replies_go_on_in_the_text(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text(SAID * 20, encoding="utf-8")
    settings = {
        "model": save_tiny_chat(tmp_path / "model"),
        "dtype": "float32",
        "port": "0",
        "state_dir": tmp_path / "state",
        "bootstrap_key": "k" * 32,
    }
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    env |= {f"SLUICE_{name.upper()}": str(value) for name, value in settings.items()}
    env["PYTHONUNBUFFERED"] = "1"
    command = [sys.executable, "-m", "scripts.gpu_server", "--step-ms", "1", "--text", str(text)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = None
            while found is None:
                line = server.stdout.readline()
                assert line
                found = re.search(r"http://[\d.]+:\d+", line)
            asked = {"input": "Hello", "max_output_tokens": 60, "ignore_eos": True}
            key = {"authorization": f"Bearer {settings['bootstrap_key']}"}
            reply = httpx.post(f"{found[0]}/v1/responses", json=asked, headers=key, timeout=30)
        finally:
            server.terminate()
    said = reply.json()["output"][0]["content"][0]["text"]
    assert len(said) >= 60
    assert said[1:] in SAID * 4, "behind the prompt's own token"
