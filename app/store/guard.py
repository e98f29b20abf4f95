"""Stands between us and a child that must not outlive us: `python guard.py PARENT_PID PROGRAM ARGUMENT…`.

It asks the kernel for a SIGTERM when its parent dies, then becomes the program; the wish survives the exec.
Run by path with `-I -S`, so it imports the standard library only. Where the kernel has no such wish (macOS)
the program runs unguarded, and the next start ends what it finds.

The kernel watches the *thread* that forked, so the child must be started from one that lives as long as the
process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def set_parent_death_signal(number: int) -> None:
    """The signal that this process gets when its parent dies; 0 for none."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def main(argv: Sequence[str]) -> None:
    parent, program = int(argv[1]), argv[2]
    set_parent_death_signal(signal.SIGTERM)
    if os.getppid() != parent:  # it died before the wish was made
        raise SystemExit(f"parent {parent} is gone")
    os.execv(program, list(argv[2:]))


if __name__ == "__main__":  # pragma: no cover - in a process of its own, which the exec ends
    main(sys.argv)
