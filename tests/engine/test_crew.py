"""Who computes a piece changes nothing, and nobody waits for a helper that does not run."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.crew import Crew
from engine.library import LibraryError
from engine.memory import Arena
from engine.products import Packed, Products
from engine.quantized import quantize

pytestmark = pytest.mark.native

ROWS = (1, 8, 70)


@pytest.fixture(scope="module")
def packed() -> Packed:
    return Packed(quantize(torch.randn(1500, 640), 4), Arena())


def threads() -> set[int]:
    """Of this process."""
    return {int(path.name) for path in Path("/proc/self/task").iterdir()}


def multiplied(crew: Crew, packed: Packed, folder: Path, times: int = 1) -> list[Tensor]:
    products = Products.load(folder, crew)
    inputs = [torch.randn(rows, 640, generator=torch.Generator().manual_seed(rows)) for rows in ROWS]
    return [products(x, packed, None, torch.float32) for _ in range(times) for x in inputs]


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("members", [1, 2, 3, 9])
def test_a_crew_of_any_size_computes_the_same(members: int, packed: Packed, native_dir: Path) -> None:
    alone = multiplied(Crew(None, 1), packed, native_dir, 50)
    assert same(multiplied(Crew.load(native_dir, members), packed, native_dir, 50), alone)


def test_helpers_begin_with_the_first_work_and_end_with_the_crew(packed: Packed, native_dir: Path) -> None:
    multiplied(Crew(None, 1), packed, native_dir)
    before = threads()
    crew = Crew.load(native_dir, 3)
    assert repr(crew) == "<Crew members=3>"
    assert threads() == before
    expected = multiplied(crew, packed, native_dir)
    assert len(threads() - before) == 2
    crew.close()
    assert threads() == before
    crew.close()
    assert crew.address is None
    assert same(multiplied(crew, packed, native_dir), expected)


def test_a_crew_that_nobody_holds_any_more_ends(packed: Packed, native_dir: Path) -> None:
    multiplied(Crew(None, 1), packed, native_dir)
    before = threads()
    multiplied(Crew.load(native_dir, 2), packed, native_dir)
    assert threads() == before


def test_one_crew_with_several_callers_at_once(packed: Packed, native_dir: Path) -> None:
    expected = multiplied(Crew(None, 1), packed, native_dir, 50)
    crew = Crew.load(native_dir, 3)
    with ThreadPoolExecutor(3) as callers:
        calls = [callers.submit(multiplied, crew, packed, native_dir, 50) for _ in range(3)]
        assert all(same(call.result(), expected) for call in calls)


def test_several_crews_at_once(packed: Packed, native_dir: Path) -> None:
    expected = multiplied(Crew(None, 1), packed, native_dir, 50)
    crews = [Crew.load(native_dir, 3) for _ in range(3)]
    with ThreadPoolExecutor(3) as callers:
        calls = [callers.submit(multiplied, crew, packed, native_dir, 50) for crew in crews]
        assert all(same(call.result(), expected) for call in calls)


@pytest.mark.skipif(
    not hasattr(os, "sched_setscheduler"), reason="threads have no priority of their own here"
)
def test_helpers_that_get_next_to_no_time(packed: Packed, native_dir: Path) -> None:
    """They are idle threads, beside a process that wants their only core for itself."""
    expected = multiplied(Crew(None, 1), packed, native_dir)
    before = threads()
    crew = Crew.load(native_dir, 3)
    multiplied(crew, packed, native_dir)
    core = min(os.sched_getaffinity(0))
    for helper in threads() - before:
        os.sched_setscheduler(helper, os.SCHED_IDLE, os.sched_param(0))
        os.sched_setaffinity(helper, {core})
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as greedy:
        os.sched_setaffinity(greedy.pid, {core})
        try:
            assert same(multiplied(crew, packed, native_dir, 30), expected * 30)
        finally:
            greedy.kill()


def test_a_forked_process_has_no_helpers_and_computes_alone(native_dir: Path) -> None:
    script = (
        "import os, torch; from pathlib import Path; from engine.crew import Crew; from engine.products import *\n"
        "from engine.quantized import quantize\n"
        "torch.set_num_threads(1)\n"
        f"crew, folder = Crew.load(Path({str(native_dir)!r}), 3), Path({str(native_dir)!r})\n"
        "packed, x = Packed(quantize(torch.randn(1500, 640), 4), Arena()), torch.randn(8, 640)\n"
        "products = Products.load(folder, crew)\n"
        "before = products(x, packed, None, torch.float32)\n"
        "if child := os.fork():\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "else:\n"
        "    same = torch.equal(products(x, packed, None, torch.float32), before)\n"
        "    crew.close()\n"
        "    os._exit(not same)\n"
        "print('both')\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.returncode) == ("both\n", 0), ran.stderr


def test_without_a_folder_nothing_is_compiled() -> None:
    with pytest.raises(LibraryError, match="name one in native_dir"):
        Crew.load(None, 2)
