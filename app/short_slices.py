"""Short slices of a processor for the thread that asks: Linux lets one that woke up go before threads with longer ones.

The event loop runs for moments between long waits; the engine's threads compute without a pause. With slices as
long as theirs the loop waits for a processor till one of them has used up its own.
"""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Final

SLICE_NS: Final = 100_000
"""The shortest that Linux gives."""
_CALLS: Final = {"x86_64": 314, "aarch64": 274, "riscv64": 274}  # sched_setattr, in each one's table
_RESET_ON_FORK: Final = 1  # threads and processes that this one begins have the usual slices


class _Attributes(ctypes.Structure):
    """struct sched_attr, sched_setattr(2)."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    ]


def take_short_slices() -> None:
    """For the calling thread. Kernels older than Linux 6.12 and other systems know no such thing: nothing changes."""
    call = _CALLS.get(platform.machine())
    if platform.system() != "Linux" or call is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    wanted = _Attributes(
        size=ctypes.sizeof(_Attributes),
        flags=_RESET_ON_FORK,
        nice=os.getpriority(os.PRIO_PROCESS, 0),
        runtime=SLICE_NS,
    )
    ctypes.CDLL(None).syscall(call, 0, ctypes.byref(wanted), 0)  # refused: as it was
