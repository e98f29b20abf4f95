"""The embedded store's files: where they are, who holds them, and what an earlier process left behind."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from app.store.probe import ask

_SOCKET_PATH_BYTES = 103  # sun_path holds 108 bytes on Linux and 104 on macOS, with a NUL
_LEFTOVER_S = 5.0  # how long a leftover may take to end by itself
_POLL_S = 0.02
_PROC = Path("/proc")  # absent on macOS
_LOG_BYTES = 8 << 20  # some years of a quiet store's log


class StateFolderInUse(Exception):
    """Another process keeps its data in this folder."""

    def __init__(self, folder: Path, pid: str) -> None:
        super().__init__(
            f"another sluice (process {pid or 'unknown'}) keeps its data in {folder}; end it, or give this "
            "one its own SLUICE_STATE_DIR, or a SLUICE_REDIS_URL"
        )


class StateFolder:
    """`<state>/valkey`, mode 700: data, log, pid, lock and, if its path is short enough, the socket."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir.absolute() / "valkey"
        self.data = self.path / "data"
        self.log = self.path / "valkey.log"
        self.pid = self.path / "valkey.pid"
        self.socket = self.path / "valkey.sock"
        self._far_socket = len(os.fsencode(self.socket)) > _SOCKET_PATH_BYTES
        if self._far_socket:
            # found again by whoever knows the state folder, and by the next start
            name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
            self.socket = Path(f"/tmp/sluice-{os.getuid()}-{name}/valkey.sock")
        self._lock: int | None = None

    def hold(self) -> None:
        """Make the folder ours until `release` or our death. Raises StateFolderInUse, OSError."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)
        self.data.mkdir(exist_ok=True, mode=0o700)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode().strip()
            os.close(lock)
            raise StateFolderInUse(self.path.parent, holder) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        try:
            if self._far_socket:
                _own_folder(self.socket.parent)
        except OSError:
            os.close(lock)
            raise
        self._lock = lock
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))

    def release(self) -> None:
        """Give the folder up. Idempotent."""
        if self._lock is None:
            return
        self._forget_process()
        if self._far_socket:
            self.socket.parent.rmdir()
        os.close(self._lock)
        self._lock = None

    async def end_leftover(self) -> None:
        """End a store that outlived its process. Only while held.

        Raises StateFolderInUse if it cannot be ended: two must never write the same data.
        """
        pid = self._leftover_pid()
        if pid is not None:
            for deadly in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.kill(pid, deadly)
                if await _within(_LEFTOVER_S, lambda: self._is_ours(pid)):
                    break
            else:
                raise StateFolderInUse(self.path.parent, str(pid))
        # A process that died before it noted its child's pid: the socket still leads to the child.
        await ask(self.socket, b"SHUTDOWN NOSAVE")
        if not await _within(_LEFTOVER_S, lambda: _listens(self.socket)):
            raise StateFolderInUse(self.path.parent, "")
        self._forget_process()

    def note_process(self, pid: int) -> None:
        self.pid.write_text(str(pid))

    def log_tail(self) -> str:
        """The log's last lines, for a failure's message."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])
        except OSError:
            return ""

    def _leftover_pid(self) -> int | None:
        try:
            pid = int(self.pid.read_text())
        except (OSError, ValueError):
            return None
        return pid if self._is_ours(pid) else None

    def _is_ours(self, pid: int) -> bool:
        """Whether it was given our socket: a pid alone may have been passed on to another."""
        try:
            command = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            if _PROC.exists():
                return False
            shown = subprocess.run(
                ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False
            )
            return os.fsencode(self.socket) in shown.stdout
        return os.fsencode(self.socket) in command

    def _forget_process(self) -> None:
        self.socket.unlink(missing_ok=True)
        self.pid.unlink(missing_ok=True)

    def __repr__(self) -> str:
        return f"<StateFolder {self.path} {'held' if self._lock is not None else 'free'}>"


def _own_folder(path: Path) -> None:
    """Make a folder in a public place ours alone; refuse one that another user prepared. Raises OSError."""
    path.mkdir(exist_ok=True, mode=0o700)
    seen = path.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid() or seen.st_mode & 0o077:
        raise PermissionError(
            f"{path} is not a folder of ours alone; remove it, or take a shorter SLUICE_STATE_DIR"
        )


async def _within(seconds: float, still: Callable[[], bool]) -> bool:
    """Whether `still` turned false in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while still():
        if loop.time() > deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
