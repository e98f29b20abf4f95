"""How long work that is done once shows itself: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Final, TextIO, TypeAlias

from tqdm.auto import tqdm

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with (what is being done, units done, units in all)."""

_MIB: Final = 1 << 20


class ProgressBars:
    """A `Progress` that draws a bar for each task. A line at its beginning and one at its end where there is no
    terminal, or where a task has no parts to count."""

    def __init__(self, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out or sys.stderr
        self._clock = clock
        self._what = ""
        self._began = 0.0
        self._bar: Any = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.close()
            self._begin(what, total)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        if done >= total:
            self._end()

    def close(self) -> None:
        """Leave what is begun as it is: it has failed, or something else begins."""
        if self._bar is not None:
            self._bar.close()
        self._bar, self._what = None, ""

    def _begin(self, what: str, total: int) -> None:
        self._what, self._began = what, self._clock()
        if not self._out.isatty() or total == 1:
            self._say(what)
            return
        bytes_counted = total >= _MIB
        unit = "B" if bytes_counted else ""
        self._bar = tqdm(total=total, desc=f"==> {what}", unit=unit, unit_scale=bytes_counted, file=self._out)

    def _end(self) -> None:
        if self._bar is None:
            self._say(f"{self._what}: took {self._clock() - self._began:.0f} s")
        self.close()

    def _say(self, text: str) -> None:
        print(f"==> {text}", file=self._out, flush=True)
