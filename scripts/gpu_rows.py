"""Rows of a run on a GPU: each is in the file as soon as it is known, none takes another with it.

An error on a GPU can end every later call of its process. Then, and where a row does not end, the process begins
anew with the rows that are left.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from scripts.gpu_report import write

Figures: TypeAlias = dict[str, Any]
BEGAN: Final = "GPU_RUN_BEGAN"  # set in a process that goes on with another one's run


class Rows:
    """What was found so far, by the row's name."""

    def __init__(self, given: argparse.Namespace, about: Mapping[str, str]) -> None:
        """`given`: json, minutes, row_minutes and device."""
        self._path: Path = given.json
        self._limit_s: float = given.minutes * 60
        self._row_limit_s: float = given.row_minutes * 60
        self._device: str = given.device
        self._content: dict[str, Any] = {"machine": dict(about), "rows": {}}
        self._began = float(os.environ.get(BEGAN) or time.time())
        if BEGAN in os.environ:
            self._content = json.loads(self._path.read_text(encoding="utf-8"))

    @property
    def found(self) -> dict[str, Figures]:
        rows: dict[str, Figures] = self._content["rows"]
        return rows

    @property
    def left_s(self) -> float:
        """How much of the run's time is left."""
        return self._limit_s - (time.time() - self._began)

    def take(self, name: str, work: Callable[[], Figures]) -> Figures:
        """Take a row, if it was not taken. One that fails has `error`, one that there was no time for `skipped`."""
        if name in self.found:
            return self.found[name]
        print(f"{time.time() - self._began:5.0f} s  {name}", flush=True)
        if self.left_s <= 0:
            return self._note(name, {"skipped": "there was no time left"})
        watch = threading.Timer(min(self._row_limit_s, self.left_s + 30), self._give_up, (name,))
        watch.daemon = True
        watch.start()
        began = time.perf_counter()
        try:
            figures = work()
        except Exception as error:
            traceback.print_exc()
            figures = {"error": f"{type(error).__name__}: {error}"[:300]}
        watch.cancel()
        noted = self._note(name, figures | {"took_s": round(time.perf_counter() - began, 1)})
        if "error" in figures and self._is_dead():
            self._begin_anew()
        return noted

    def _note(self, name: str, figures: Figures) -> Figures:
        self.found[name] = figures
        write(self._path, self._content)
        return figures

    def _give_up(self, name: str) -> None:
        """On a thread of its own: the row's is lost."""
        faulthandler.dump_traceback(all_threads=True)
        self._note(name, {"error": f"did not end in {self._row_limit_s:.0f} s"})
        self._begin_anew()

    def _is_dead(self) -> bool:
        """Whether nothing works on the device any more."""
        import torch

        if self._device == "cpu":
            return False
        try:
            torch.cuda.synchronize()
            torch.ones(1, device="cuda").tolist()
        except Exception:
            return True
        return False

    def _begin_anew(self) -> None:
        print("the process begins anew", flush=True)
        os.environ[BEGAN] = str(self._began)
        os.execv(sys.executable, [sys.executable, "-m", _module(), *sys.argv[1:]])


def _module() -> str:
    """What was run by `python -m`."""
    spec = sys.modules["__main__"].__spec__
    assert spec is not None
    return spec.name
