"""Kernels that begin while those launched before them still run, and wait inside for what they need of them.

Hopper and later have it. Every program of such a kernel waits, whatever it needs, before it reads or writes anything
that another kernel writes or reads: when one has ended, so have all before it. None lets the next begin before it has
waited itself, so that never more than one kernel waits behind the one that runs.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def await_earlier(DEPENDENT: tl.constexpr):
    """Wait for the kernels before, then let the next one begin."""
    if DEPENDENT:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()


def launched_early(dependent: bool) -> dict[str, bool]:
    """What a launch is given; kernels that are not `dependent` begin when all before them have ended."""
    return {"launch_pdl": True} if dependent else {}
