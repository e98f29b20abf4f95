"""Servers under test as processes of our own: started in a temporary folder, waited for, ended."""

from __future__ import annotations

import http.client
import os
import re
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from loadtest.process import pin
from loadtest.target import PATH, Target

START_S: Final = 300.0
"""How long a start may take: the first one converts a model."""
_END_S: Final = 15.0
_ROOT: Final = Path(__file__).resolve().parent.parent
_ANNOUNCED: Final = re.compile(rb"https?://127\.0\.0\.1:(\d+)/")
_BARE_PORT: Final = re.compile(rb"^(\d+)$")


class ServerFailed(Exception):
    """The server under test did not start; the message has the end of what it said."""


@dataclass(frozen=True, slots=True)
class Served:
    """A running server: where it is, and the process that costs."""

    target: Target
    pid: int


@contextmanager
def serving(
    settings: Mapping[str, str],
    *,
    core: int | None = None,
    start_s: float = START_S,
    command: Sequence[str] = ("-m", "app", "serve"),
) -> Iterator[Served]:
    """`python -m app serve`, or another `command`, with these `SLUICE_…` settings and no others, on a free port."""
    with tempfile.TemporaryDirectory(prefix="sluice-load-") as folder:
        key = secrets.token_urlsafe(24)
        env = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
        env |= {
            "SLUICE_PORT": "0",
            "SLUICE_STATE_DIR": f"{folder}/state",
            "SLUICE_BOOTSTRAP_KEY": key,
            "SLUICE_LOG_LEVEL": "warning",
            **settings,
        }
        with _running(command, env, Path(folder), core, _ANNOUNCED, start_s) as (pid, port):
            wait_ready(port, start_s)
            yield Served(Target("ws", "127.0.0.1", port, PATH, key), pid)


@contextmanager
def serving_raw(steps_per_s: float, frames_per_write: int, *, core: int | None = None) -> Iterator[Served]:
    """The bare loop of `loadtest.raw`."""
    command = ["-m", "loadtest.raw", str(steps_per_s), str(frames_per_write)]
    with (
        tempfile.TemporaryDirectory(prefix="sluice-load-") as folder,
        _running(command, dict(os.environ), Path(folder), core, _BARE_PORT, 30.0) as (pid, port),
    ):
        yield Served(Target("ws", "127.0.0.1", port, PATH, "none"), pid)


def wait_ready(port: int, timeout_s: float) -> None:
    """Until `/readyz` says that a turn would be served. Raises ServerFailed after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            said = answer.read(1000).decode(errors="replace")
            if answer.status == 200:
                return
        except OSError as error:
            said = str(error)
        finally:
            connection.close()
        if time.monotonic() > end:
            raise ServerFailed(f"the server on port {port} was not ready after {timeout_s:g} s: {said}")
        time.sleep(0.05)


@contextmanager
def _running(
    command: Sequence[str],
    env: dict[str, str],
    folder: Path,
    core: int | None,
    announced: re.Pattern[bytes],
    start_s: float,
) -> Iterator[tuple[int, int]]:
    """A Python process (id, port) from its announcement to its end; interrupted, then killed if it does not go.

    It runs in `folder`, so that no settings file of the caller's counts.
    """
    log = folder / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env={**env, "PYTHONPATH": str(_ROOT)},
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    assert process.stdout is not None
    try:
        pin(core, process.pid)
        port = _announced_port(process.stdout, announced, start_s)
        if port is None:
            said = log.read_text(errors="replace")[-2000:]
            raise ServerFailed(f"`{' '.join(command)}` did not start:\n{said}")
        yield process.pid, port
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _announced_port(stdout: IO[bytes], announced: re.Pattern[bytes], start_s: float) -> int | None:
    """The port in the first line that names one; None if the output ends or the time is over before."""
    end = time.monotonic() + start_s
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, end - time.monotonic())):
            chunk = os.read(stdout.fileno(), 4096)
            said += chunk
            for line in said.split(b"\n")[:-1]:
                if found := announced.search(line):
                    return int(found[1])
            if not chunk:
                return None
    return None
