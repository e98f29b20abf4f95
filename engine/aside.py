"""Work in a thread of its own, for which neither the end of the process nor anybody else has to wait."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from engine.panics import as_exception

T = TypeVar("T")


def aside(name: str, work: Callable[[], T]) -> Future[T]:
    """Begin the work: what is to be its result. It cannot be cancelled."""
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            outcome.set_exception(as_exception(error))
        else:
            outcome.set_result(result)

    # A pool's threads are joined when the interpreter ends: not those.
    threading.Thread(target=run, name=name, daemon=True).start()
    return outcome


def within(limit_s: float, name: str, work: Callable[[], T]) -> T:
    """The work's result. Raises TimeoutError after `limit_s`: the work is then ended where it next computes Python."""
    at_work: list[int] = []

    def run() -> T:
        at_work.append(threading.get_ident())
        return work()

    outcome = aside(name, run)
    try:
        return outcome.result(limit_s)
    except TimeoutError:
        for thread in at_work if not outcome.done() else ():
            ended = ctypes.py_object(SystemExit)  # no Exception: what the work catches it must not keep
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ended)
        raise
