from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.available import Memory, memory_of

CPU = torch.device("cpu")
GIB = 1 << 30


def write(root: Path, **files: str) -> Path:
    """Files by their path, `__` for a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine of 16 GiB, half of it free."""
    return write(tmp_path, proc__meminfo=f"MemTotal: {16 << 20} kB\nMemAvailable: {8 << 20} kB\n")


def test_a_machine_without_limits(root: Path) -> None:
    assert memory_of(CPU, root) == Memory(16 * GIB, 8 * GIB, "this machine")


@pytest.mark.parametrize("limit", ["max", str(64 * GIB)])
def test_a_limit_beyond_the_machine_is_none(limit: str, root: Path) -> None:
    write(root, proc__self__cgroup="0::/\n", sys__fs__cgroup__memory_dot_max=limit)
    write(root, sys__fs__cgroup__memory_dot_current=str(GIB))
    assert memory_of(CPU, root).source == "this machine"


def test_what_a_container_has_left_counts_its_caches_as_free(root: Path) -> None:
    write(
        root,
        proc__self__cgroup="0::/\n",
        sys__fs__cgroup__memory_dot_max=str(4 * GIB),
        sys__fs__cgroup__memory_dot_current=str(3 * GIB),
        sys__fs__cgroup__memory_dot_stat=f"anon 5\ninactive_file {2 * GIB}\n",
    )
    assert memory_of(CPU, root) == Memory(4 * GIB, 3 * GIB, "this container")


def test_the_group_around_ours_may_have_the_narrower_limit(root: Path) -> None:
    write(
        root,
        proc__self__cgroup="0::/outer/inner\n",
        sys__fs__cgroup__outer__inner__memory_dot_max=str(6 * GIB),
        sys__fs__cgroup__outer__inner__memory_dot_current="0",
        sys__fs__cgroup__outer__memory_dot_max=str(2 * GIB),
        sys__fs__cgroup__outer__memory_dot_current=str(3 * GIB),
    )
    assert memory_of(CPU, root) == Memory(2 * GIB, 0, "this container")


def test_the_first_version_of_control_groups(root: Path) -> None:
    write(
        root,
        proc__self__cgroup="5:cpu,cpuacct:/x\n4:memory:/x\n",
        sys__fs__cgroup__memory__x__memory_dot_limit_in_bytes=str(2 * GIB),
        sys__fs__cgroup__memory__x__memory_dot_usage_in_bytes=str(GIB),
        sys__fs__cgroup__memory__x__memory_dot_stat="total_inactive_file x\n",
        sys__fs__cgroup__memory__memory_dot_limit_in_bytes=str(1 << 62),
        sys__fs__cgroup__memory__memory_dot_usage_in_bytes=str(GIB),
    )
    assert memory_of(CPU, root) == Memory(2 * GIB, GIB, "this container")


@pytest.mark.parametrize("meminfo", ["", "MemTotal: 12 kB\n", "MemTotal:\nMemAvailable:\n"])
def test_a_system_that_does_not_say_is_taken_for_half_free(meminfo: str, tmp_path: Path) -> None:
    found = memory_of(CPU, write(tmp_path, proc__meminfo=meminfo))
    assert 0 < found.available == found.total // 2


def test_a_gpus_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    assert memory_of(torch.device("cuda")) == Memory(5000, 1000, "the GPU")
