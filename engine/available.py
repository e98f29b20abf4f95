"""How much memory there is: the machine's, or less where a container has a limit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

_UNLIMITED: Final = 1 << 60  # what version 1 of cgroups writes where there is no limit is above it


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. What is available is free, or held by nothing but caches that the system gives up."""

    total: int
    available: int
    source: str  # whose it is, for people


def memory_of(device: torch.device, root: Path = Path("/")) -> Memory:
    """The memory that a model on this device would lie in. `root` is where /proc and /sys are looked for."""
    if device.type == "cuda":
        available, total = torch.cuda.mem_get_info(device)
        return Memory(total, available, "the GPU")
    machine = _machine(root)
    for limit, used in _limits(root):
        if limit < machine.total:
            available = max(0, min(machine.available, limit - used))
            machine = Memory(limit, available, "this container")
    return machine


def _machine(root: Path) -> Memory:
    lines = dict(line.partition(":")[::2] for line in _read(root / "proc/meminfo").splitlines())
    try:
        sizes = [int(lines[name].split()[0]) << 10 for name in ("MemTotal", "MemAvailable")]
    except (KeyError, ValueError, IndexError):  # another system: half of it is a guess on the safe side
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        sizes = [total, total // 2]
    return Memory(sizes[0], sizes[1], "this machine")


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, used) of our control group and those around it, for both versions of them."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        inner = Path(path.lstrip("/"))
        for folder in (inner, *inner.parents):
            limit, used = (_number(base / folder / name) for name in names[:2])
            if limit is not None and used is not None and limit < _UNLIMITED:
                yield limit, used - _statistic(base / folder / "memory.stat", names[2])


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _statistic(path: Path, name: str) -> int:
    """A line of `memory.stat`: file pages that nobody has used for long are given up before anything fails."""
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
