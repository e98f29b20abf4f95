"""The real server as a child process with the scripted engine, for tests that look at it from outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

KEY = "sluice-tests-drive-this-server"
KEPT = {"SLUICE_CACHE_DIR"}  # where the default model is; no other setting of the caller reaches the server
READY_WITHIN_S = 60.0  # two busy cores start Python, the store and the engine
ENDED_WITHIN_S = 30.0
ROOT = Path(__file__).resolve().parents[3]


@dataclass(slots=True)
class Served:
    """A server on a loopback port that stays its own over restarts."""

    folder: Path
    settings: dict[str, str]
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def environment(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if name in KEPT or name[:7] != "SLUICE_"}
        return ours | self.settings

    def keys(self, *arguments: str) -> str:
        """What `sluice keys` prints for this server."""
        return self.sluice("keys", *arguments)

    def sluice(self, *arguments: str) -> str:
        """What a command prints beside this server."""
        command = [sys.executable, "-m", "app", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    def start(self) -> None:
        assert self.process is None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_until_ready()

    def stop(self) -> None:
        """Ends it as an operator does, and its store with it."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(ENDED_WITHIN_S)
        finally:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _wait_until_ready(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._is_ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as not_yet:
            not_yet.close()
            return False
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


@contextmanager
def served(folder: Path, **settings: str) -> Iterator[Served]:
    """A running server whose state is in `folder`. `settings` are added to those of every test, by variable."""
    common = {
        "SLUICE_ENGINE": "scripted",
        "SLUICE_STATE_DIR": str(folder),
        "SLUICE_BOOTSTRAP_KEY": KEY,
    }
    port = _free_port()
    server = Served(folder, common | {"SLUICE_PORT": str(port)} | settings, port)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
