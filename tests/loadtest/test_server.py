from __future__ import annotations

import os
import socket

import pytest

from loadtest.drain import Drain
from loadtest.process import cores, cpu_s, pinned, resident_bytes
from loadtest.server import ServerFailed, serving, serving_raw, wait_ready

SCRIPTED = {"SLUICE_ENGINE": "scripted", "SLUICE_SCRIPTED_TOKENS_PER_S": "0"}


def test_a_server_of_our_own_serves_and_ends() -> None:
    with serving(SCRIPTED) as served:
        with Drain(served.target, 2):
            assert resident_bytes(served.pid) > 1 << 20
        assert cpu_s(served.pid) > 0
    with pytest.raises(ProcessLookupError):
        os.kill(served.pid, 0)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", served.target.port), 5.0)


def test_a_setting_that_stops_the_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_NO_SUCH_SETTING", "not passed on")
    with (
        pytest.raises(ServerFailed, match=r"(?s)did not start.*SLUICE_PORTT"),
        serving(SCRIPTED | {"SLUICE_PORTT": "1"}),
    ):
        pass


def test_a_server_that_says_nothing_in_time_is_ended() -> None:
    with (
        pytest.raises(ServerFailed, match="did not start"),
        serving(SCRIPTED, start_s=0.3, command=("-c", "import time; time.sleep(60)")),
    ):
        pass


def test_a_server_that_does_not_get_ready_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ServerFailed, match=r"not ready after 0\.2 s"):
        wait_ready(port, 0.2)


def test_a_process_runs_on_the_core_it_is_pinned_to() -> None:
    core, _ = cores()
    with serving_raw(0, 1, core=core) as served:
        on = os.sched_getaffinity(served.pid)
    assert on == ({core} if core is not None else os.sched_getaffinity(0))


def test_this_process_is_pinned_for_a_while_alone() -> None:
    before = os.sched_getaffinity(0)
    with pinned(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before
    with pinned(None):
        assert os.sched_getaffinity(0) == before


def test_one_core_is_shared() -> None:
    with pinned(min(os.sched_getaffinity(0))):
        assert cores() == (None, None)


def test_cpu_time_grows_with_work() -> None:
    before = cpu_s(os.getpid())
    end = before + 0.05
    while cpu_s(os.getpid()) < end:
        sum(range(10_000))
    assert cpu_s(os.getpid()) > before
