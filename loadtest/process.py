"""What another process costs, read from Linux's /proc, and which core it runs on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
"""What the clock of CPU time can show."""
_PROC: Final = Path("/proc")


def cpu_s(pid: int) -> float:
    """CPU seconds of all the process's threads so far, user and kernel, to a hundredth of a second."""
    # the name, in parentheses, may hold spaces; utime and stime are fields 14 and 15 (proc(5))
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def resident_bytes(pid: int) -> int:
    """Memory of the process that is in RAM; buffers of the kernel's sockets are not part of it."""
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has no memory: it has ended")


def cores() -> tuple[int | None, int | None]:
    """A core for the server and another for the clients; None, None where there is only one to share."""
    available = sorted(os.sched_getaffinity(0))
    return (available[0], available[1]) if len(available) > 1 else (None, None)


def pin(core: int | None, pid: int) -> None:
    """Keep a process, and what it starts from now on, to one core; None leaves it where it is."""
    if core is not None:
        os.sched_setaffinity(pid, {core})


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """This process on one core for a while."""
    before = os.sched_getaffinity(0)
    pin(core, 0)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
