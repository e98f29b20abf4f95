"""Work in threads that nobody has to wait for."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from engine.aside import aside, within


def test_a_result_and_an_error_come_back() -> None:
    assert aside("sum", lambda: 1 + 1).result(30) == 2
    with pytest.raises(ZeroDivisionError):
        aside("sum", lambda: 1 // 0).result(30)


def test_a_process_ends_while_work_does_not() -> None:
    script = (
        "import threading; from engine.aside import aside;"
        "aside('endless', threading.Event().wait); print('over')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "over\n"), done.stderr


def test_work_that_ends_in_time_gives_its_result() -> None:
    assert within(30, "sum", lambda: 1 + 1) == 2


def test_work_that_does_not_end_is_ended() -> None:
    begun: list[threading.Thread] = []

    def spin() -> None:
        begun.append(threading.current_thread())
        while True:
            try:
                list(range(100))
            except Exception:  # as templates' engines catch what goes wrong
                continue

    with pytest.raises(TimeoutError):
        within(0.1, "spin", spin)
    [thread] = begun
    thread.join(60)
    assert not thread.is_alive()


def test_a_time_out_of_the_works_own_is_an_error_like_any() -> None:
    def fail() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        within(30, "fail", fail)
