"""The program between us and the store: it binds the child's life to ours."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

import pytest

from app.store import guard

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a child of its parent's death"
)

_PR_GET_PDEATHSIG = 2


def death_signal() -> int:
    number = ctypes.c_int()
    ctypes.CDLL(None).prctl(_PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0)
    return number.value


@pytest.fixture(autouse=True)
def _forget_the_wish() -> object:
    yield
    guard.set_parent_death_signal(0)


def test_the_wish_reaches_the_kernel() -> None:
    guard.set_parent_death_signal(signal.SIGUSR1)
    assert death_signal() == signal.SIGUSR1


def test_a_wish_the_kernel_refuses_is_an_error() -> None:
    with pytest.raises(OSError, match="PR_SET_PDEATHSIG"):
        guard.set_parent_death_signal(9999)


def test_another_system_has_no_such_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    guard.set_parent_death_signal(signal.SIGUSR1)
    assert death_signal() == 0


def test_it_ends_at_once_if_the_parent_died_before_the_wish() -> None:
    with pytest.raises(SystemExit, match=r"parent 1 is gone|parent 999999999 is gone"):
        guard.main(["guard", "999999999", "/bin/true"])


def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        guard.main(["guard", str(os.getppid()), "/no/such/program"])


def test_the_program_takes_its_place_with_the_wish_kept() -> None:
    show = "import ctypes as c; n = c.c_int(); c.CDLL(None).prctl(2, c.byref(n), 0, 0, 0); print(n.value)"
    command = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), sys.executable, "-c", show]
    shown = subprocess.run(command, capture_output=True, check=True, env={}).stdout
    assert int(shown) == signal.SIGTERM
