"""The embedded store as a child: its life, its death, ours, and what is left afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.store import state_folder, valkey
from app.store.client import Store, StoreUnavailable
from app.store.probe import ask
from app.store.valkey import EmbeddedValkey, EmbeddedValkeyError, StateFolderInUse, find_binary
from tests.app.store.waiting import until

pytestmark = pytest.mark.anyio

# Another server process: it owns a store in the folder it is given, says so, and never ends by itself.
_OWNER = """
import asyncio, sys
from pathlib import Path
from app.store.valkey import EmbeddedValkey

async def main():
    async with EmbeddedValkey(Path(sys.argv[1])) as store:
        print(store.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def owner(state_dir: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that owns a store, and the store's pid."""
    command = [sys.executable, "-c", _OWNER, str(state_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def write(url: str, key: str) -> None:
    store = Store(url)
    await store.call(store.command("SET", key, "kept"))
    await store.close()


async def read(url: str, key: str) -> bytes | None:
    store = Store(url)
    value: bytes | None = await store.call(store.command("GET", key))
    await store.close()
    return value


async def test_it_listens_on_a_private_socket_only(tmp_path: Path) -> None:
    async with EmbeddedValkey(tmp_path) as embedded:
        path = tmp_path / "valkey" / "valkey.sock"
        assert embedded.url == f"unix://{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        store = Store(embedded.url)
        ports = await store.call(store.command("CONFIG", "GET", "port"))
        assert ports == [b"port", b"0"]
        await store.close()
        assert embedded.pid is not None
        assert os.getsid(embedded.pid) != os.getsid(0)
        assert repr(embedded) == f"<EmbeddedValkey running pid={embedded.pid}>"


async def test_data_outlive_the_server(server: EmbeddedValkey) -> None:
    async with server:
        await write(server.url, "turn")
    async with server:
        assert await read(server.url, "turn") == b"kept"


async def test_nothing_is_left_after_a_stop(tmp_path: Path) -> None:
    embedded = EmbeddedValkey(tmp_path)
    await embedded.start()
    pid = embedded.pid
    assert pid is not None
    await embedded.stop()
    await embedded.stop()  # a second one does nothing
    assert embedded.pid is None
    assert not runs(pid)
    left = {path.name for path in (tmp_path / "valkey").iterdir()}
    assert left == {"data", "lock", "valkey.log"}


async def test_a_second_server_in_the_same_folder_is_refused_by_name(tmp_path: Path) -> None:
    async with EmbeddedValkey(tmp_path) as first:
        await write(first.url, "turn")
        with pytest.raises(StateFolderInUse, match=rf"process {os.getpid()}.*SLUICE_STATE_DIR"):
            await EmbeddedValkey(tmp_path).start()
        assert await read(first.url, "turn") == b"kept"  # and the first one is unharmed


async def test_a_folder_of_another_process_is_refused_too(tmp_path: Path) -> None:
    with owner(tmp_path) as (process, _), pytest.raises(StateFolderInUse, match=f"process {process.pid}"):
        await EmbeddedValkey(tmp_path).start()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
async def test_a_killed_server_takes_its_store_with_it(tmp_path: Path) -> None:
    with owner(tmp_path) as (process, pid):
        await write(EmbeddedValkey(tmp_path).url, "turn")
        process.kill()
        process.wait()
        await until(lambda: not runs(pid))
    async with EmbeddedValkey(tmp_path) as embedded:
        assert await read(embedded.url, "turn") == b"kept"


async def test_a_store_that_outlived_its_server_is_ended_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_folder, "_LEFTOVER_S", 0.2)
    with owner(tmp_path) as (process, pid):
        await write(EmbeddedValkey(tmp_path).url, "turn")
        os.kill(pid, signal.SIGSTOP)  # it cannot act on the news of its server's death, nor on a polite end
        process.kill()
        process.wait()
        assert runs(pid)
        async with EmbeddedValkey(tmp_path) as embedded:
            assert not runs(pid)
            assert embedded.pid != pid
            assert await read(embedded.url, "turn") == b"kept"


async def test_a_crashed_store_is_started_again(
    server: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with server, asyncio.TaskGroup() as tasks:
        run = tasks.create_task(server.run())
        await write(server.url, "turn")
        for _ in range(2):
            crashed = server.pid
            assert crashed is not None
            os.kill(crashed, signal.SIGKILL)
            await until(lambda crashed=crashed: server.pid not in (None, crashed))  # type: ignore[misc]
            await until(lambda: answers(server))
        assert await read(server.url, "turn") == b"kept"
        run.cancel()
    assert "restart_in_s=0.1" in caplog.text
    assert "restart_in_s=0.2" in caplog.text


async def answers(server: EmbeddedValkey) -> bool:
    store = Store(server.url)
    try:
        await store.ping()
    except StoreUnavailable:
        return False
    finally:
        await store.close()
    return True


async def test_a_store_that_had_run_well_is_started_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(valkey, "_STEADY_S", 0.0)
    async with EmbeddedValkey(tmp_path) as embedded, asyncio.TaskGroup() as tasks:
        run = tasks.create_task(embedded.run())
        for _ in range(2):
            crashed = embedded.pid
            assert crashed is not None
            os.kill(crashed, signal.SIGKILL)
            await until(lambda crashed=crashed: embedded.pid not in (None, crashed))  # type: ignore[misc]
            await until(lambda: answers(embedded))
        run.cancel()
    assert "restart_in_s=0.2" not in caplog.text


async def test_a_store_that_no_longer_starts_is_tried_again_until_it_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with EmbeddedValkey(tmp_path) as embedded, asyncio.TaskGroup() as tasks:
        run = tasks.create_task(embedded.run())
        data = tmp_path / "valkey" / "data"
        data.rename(tmp_path / "away")
        assert embedded.pid is not None
        os.kill(embedded.pid, signal.SIGKILL)
        await until(lambda: caplog.text.count("does not start") >= 2)
        (tmp_path / "away").rename(data)
        await until(lambda: answers(embedded))
        run.cancel()


async def test_a_stop_ends_the_supervision(tmp_path: Path) -> None:
    embedded = EmbeddedValkey(tmp_path)
    await embedded.start()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(embedded.run())
        await asyncio.sleep(0)
        await embedded.stop()
    assert embedded.pid is None


async def test_a_stop_during_the_pause_after_a_crash_starts_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    embedded = EmbeddedValkey(tmp_path)
    await embedded.start()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(embedded.run())
        assert embedded.pid is not None
        os.kill(embedded.pid, signal.SIGKILL)
        await until(lambda: "restart_in_s" in caplog.text)
        await embedded.stop()
    assert embedded.pid is None
    assert await ask(tmp_path / "valkey" / "valkey.sock", b"PING") is None


async def test_a_stop_at_any_moment_of_a_restart_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valkey, "_FIRST_PAUSE_S", 0.0)
    embedded = EmbeddedValkey(tmp_path)
    for turns in range(12):
        await embedded.start()
        crashed = embedded._process
        assert crashed is not None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(embedded.run())
            crashed.kill()
            await crashed.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
            await embedded.stop()
        assert embedded.pid is None
        assert await ask(tmp_path / "valkey" / "valkey.sock", b"PING") is None


async def test_a_cancelled_start_leaves_nothing(tmp_path: Path) -> None:
    embedded = EmbeddedValkey(tmp_path)
    for turns in range(12):  # cancelled at one await after another
        start = asyncio.ensure_future(embedded.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)
        await embedded.stop()
        assert embedded.pid is None
    async with embedded:
        await write(embedded.url, "turn")


async def test_a_stuck_store_is_killed_by_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(valkey, "STOP_S", 0.05)
    embedded = EmbeddedValkey(tmp_path)
    await embedded.start()
    pid = embedded.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await embedded.stop()
    assert not runs(pid)
    assert "embedded store killed" in caplog.text


async def test_a_store_that_does_not_start_says_why(tmp_path: Path) -> None:
    data = tmp_path / "valkey" / "data" / "appendonlydir"
    data.mkdir(parents=True)
    (data / "appendonly.aof.manifest").write_text("damaged beyond reading\n")
    embedded = EmbeddedValkey(tmp_path)
    with pytest.raises(EmbeddedValkeyError, match=r"(?s)ended with code.*valkey\.log.*anifest"):
        await embedded.start()
    assert embedded.pid is None


async def test_a_store_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valkey, "START_S", 0.05)
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o700)
    with pytest.raises(EmbeddedValkeyError, match="does not answer"):
        await EmbeddedValkey(tmp_path, binary=silent).start()


async def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedValkeyError, match="state folder cannot be used"):
        await EmbeddedValkey(tmp_path / "file").start()


async def test_a_log_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "valkey" / "valkey.log").mkdir(parents=True)
    with pytest.raises(EmbeddedValkeyError, match="Is a directory"):
        await EmbeddedValkey(tmp_path).start()


async def test_a_folder_with_a_long_and_odd_name_works(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100) / "it's \"odd\" \\ and'#?%20"
    embedded = EmbeddedValkey(folder)
    async with embedded:
        await write(embedded.url, "turn")
        assert await read(embedded.url, "turn") == b"kept"
        assert not (folder / "valkey" / "valkey.sock").exists()
        far = Path(embedded.url.removeprefix("unix://"))
        assert stat.S_IMODE(far.parent.stat().st_mode) == 0o700
    assert not far.parent.exists()


async def test_a_machine_without_a_binary_is_told_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(EmbeddedValkeyError, match="SLUICE_REDIS_URL"):
        find_binary()
