"""The state folder: its lock, its private socket folder, its log, and what an earlier process left in it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.store import state_folder
from app.store.state_folder import StateFolder, StateFolderInUse

pytestmark = pytest.mark.anyio

_STUBBORN = (
    "import signal, sys, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
)


def process_with(
    argument: Path, script: str = "print('up', flush=True); import time; time.sleep(60)"
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", script, argument], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.stdout.close()
    return process


async def test_a_released_folder_can_be_held_again(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.hold()
    assert repr(folder) == f"<StateFolder {tmp_path}/valkey held>"
    with pytest.raises(StateFolderInUse):
        StateFolder(tmp_path).hold()
    folder.release()
    folder.release()
    assert repr(folder) == f"<StateFolder {tmp_path}/valkey free>"
    again = StateFolder(tmp_path)
    again.hold()
    again.release()


async def test_a_folder_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "valkey").mkdir(mode=0o755)
    folder = StateFolder(tmp_path)
    folder.hold()
    assert folder.path.stat().st_mode & 0o777 == 0o700
    folder.release()


async def test_a_process_with_our_socket_is_ended(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.hold()
    with process_with(folder.socket) as leftover:
        folder.note_process(leftover.pid)
        end = asyncio.create_task(folder.end_leftover())
        assert await asyncio.to_thread(leftover.wait) == -signal.SIGTERM
        await end
    assert not folder.pid.exists()
    folder.release()


async def test_a_process_that_ignores_the_polite_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_folder, "_LEFTOVER_S", 0.2)
    folder = StateFolder(tmp_path)
    folder.hold()
    with process_with(folder.socket, _STUBBORN) as leftover:
        folder.note_process(leftover.pid)
        end = asyncio.create_task(folder.end_leftover())
        assert await asyncio.to_thread(leftover.wait) == -signal.SIGKILL
        await end
    folder.release()


async def test_a_process_that_cannot_be_ended_keeps_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_folder, "_LEFTOVER_S", 0.05)
    monkeypatch.setattr(signal, "SIGKILL", signal.SIGTERM)  # no signal that it would not outlive
    folder = StateFolder(tmp_path)
    folder.hold()
    with process_with(folder.socket, _STUBBORN) as leftover:
        folder.note_process(leftover.pid)
        with pytest.raises(StateFolderInUse, match=f"process {leftover.pid}"):
            await folder.end_leftover()
        monkeypatch.undo()
        leftover.kill()
    folder.release()


async def test_a_process_that_got_the_pid_of_a_dead_store_is_left_alone(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.hold()
    with process_with(tmp_path / "something else") as stranger:
        folder.note_process(stranger.pid)
        await folder.end_leftover()
        assert stranger.poll() is None
        stranger.kill()
    assert not folder.pid.exists()
    folder.release()


async def test_a_pid_of_nobody_and_a_damaged_pid_file_are_cleaned_away(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.hold()
    gone = process_with(folder.socket)
    gone.kill()
    gone.wait()
    for text in (str(gone.pid), "", "not a number"):
        folder.pid.write_text(text)
        await folder.end_leftover()
        assert not folder.pid.exists()
    folder.release()


async def test_a_stale_socket_is_cleaned_away(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.hold()
    server = await asyncio.start_unix_server(lambda reader, writer: None, folder.socket)
    server.close()
    await server.wait_closed()
    assert folder.socket.exists()
    await folder.end_leftover()
    assert not folder.socket.exists()
    folder.release()


async def test_whoever_listens_without_a_pid_is_asked_to_shut_down(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.hold()
    asked: list[bytes] = []
    ended = asyncio.Event()

    async def leftover(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        server.close()
        writer.close()
        ended.set()

    server = await asyncio.start_unix_server(leftover, folder.socket)
    await folder.end_leftover()
    await ended.wait()
    assert asked == [b"SHUTDOWN NOSAVE\r\n"]
    folder.release()


async def test_whoever_listens_on_keeps_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_folder, "_LEFTOVER_S", 0.05)
    folder = StateFolder(tmp_path)
    folder.hold()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_unix_server(deaf, folder.socket):
        with pytest.raises(StateFolderInUse, match="unknown"):
            await folder.end_leftover()
    folder.release()


async def test_a_machine_without_proc_is_asked_by_ps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = StateFolder(tmp_path)
    folder.hold()
    monkeypatch.setattr(state_folder, "_PROC", tmp_path / "no proc here")
    with process_with(folder.socket) as leftover:
        folder.note_process(leftover.pid)
        end = asyncio.create_task(folder.end_leftover())
        assert await asyncio.to_thread(leftover.wait) == -signal.SIGTERM
        await end
    folder.release()


async def test_a_long_log_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_folder, "_LOG_BYTES", 10)
    folder = StateFolder(tmp_path)
    assert folder.log_tail() == ""
    for text in ("one\n" * 9, "short\n"):
        folder.hold()
        folder.log.write_text(text)
        folder.release()
    assert folder.log_tail() == "short"
    assert (folder.path / "valkey.log.1").read_text() == "one\n" * 9


def far_folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / ("x" * 120))


async def test_a_socket_folder_that_another_prepared_is_refused(tmp_path: Path) -> None:
    folder = far_folder(tmp_path)
    place = folder.socket.parent
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    try:
        with pytest.raises(PermissionError, match="not a folder of ours alone"):
            folder.hold()
    finally:
        place.rmdir()
    place.symlink_to(tmp_path)
    try:
        with pytest.raises(PermissionError, match="not a folder of ours alone"):
            folder.hold()
    finally:
        place.unlink()
    folder.hold()  # the failures have not kept the lock
    assert len(os.fsencode(folder.socket)) < 104
    folder.release()
    assert not place.exists()
