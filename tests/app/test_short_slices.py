"""Slices of a processor for the event loop's thread."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable
from threading import Thread

import pytest

from app.short_slices import _CALLS, SLICE_NS, _Attributes, take_short_slices


def attributes() -> _Attributes:
    """What the kernel knows of the calling thread (sched_getattr)."""
    found = _Attributes()
    number = _CALLS[platform.machine()] + 1
    assert not ctypes.CDLL(None).syscall(number, 0, ctypes.byref(found), ctypes.sizeof(found), 0)
    return found


def in_a_thread(ask: Callable[[], None]) -> None:
    thread = Thread(target=ask)
    thread.start()
    thread.join()


linux = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() not in _CALLS, reason="other systems have other calls"
)


@linux
def test_the_thread_that_asks_has_short_slices_and_those_that_it_begins_do_not() -> None:
    seen: list[tuple[int, int]] = []

    def note() -> None:
        found = attributes()
        seen.append((found.runtime, found.nice))

    def ask() -> None:
        note()
        take_short_slices()
        note()
        in_a_thread(note)

    in_a_thread(ask)
    (usual, nice), short, inherited = seen
    if not usual:
        pytest.skip("this kernel gives all threads the same slices")
    assert short == (SLICE_NS, nice)
    assert inherited == (usual, nice)


@linux
def test_a_thread_that_is_scheduled_otherwise_stays_so() -> None:
    seen: list[tuple[int, int]] = []

    def ask() -> None:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        take_short_slices()
        seen.append((os.sched_getscheduler(0), attributes().runtime))

    in_a_thread(ask)
    assert seen[0][0] == os.SCHED_BATCH
    assert seen[0][1] != SLICE_NS


def test_a_system_without_such_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "pdp11")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("asked all the same"))
    take_short_slices()
