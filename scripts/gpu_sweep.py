"""Random cases of one check, as many as there is time for: on a GPU most of them compile kernels of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sweep:
    cases: int
    seconds: float

    def __call__(self, check: Callable[[int], None]) -> str:
        """Call it with seeds. Returns how many it was."""
        end = time.monotonic() + self.seconds
        done = 0
        while done < self.cases and (not done or time.monotonic() < end):
            check(done)
            done += 1
        return f"{done} shapes"
