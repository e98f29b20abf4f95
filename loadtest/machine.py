"""Where figures were measured: they mean nothing without it."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from msgspec import Struct

_PACKAGES: Final = ("torch", "transformers", "uvicorn", "uvloop", "websockets", "msgspec")


class Machine(Struct, frozen=True):
    """A machine, its versions, and how busy it was when the run began."""

    date: str  # UTC
    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str
    packages: dict[str, str]
    load_average: float  # of the last minute

    @classmethod
    def here(cls) -> Machine:
        return cls(
            date=time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
            cpu=_cpu(),
            cores=len(os.sched_getaffinity(0)),
            memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            packages={name: _version(name) for name in _PACKAGES},
            load_average=round(os.getloadavg()[0], 2),
        )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
