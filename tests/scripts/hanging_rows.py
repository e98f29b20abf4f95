"""Rows of which one fails and one never ends: `python -m tests.scripts.hanging_rows FILE`."""

from __future__ import annotations

import sys
import threading
from argparse import Namespace
from pathlib import Path

from scripts.gpu_rows import Figures, Rows


def main() -> None:
    rows = Rows(
        Namespace(json=Path(sys.argv[1]), minutes=1, row_minutes=0.01, device="cpu"), {"device": "none"}
    )
    rows.take("first", lambda: {"value": 1.0})
    rows.take("fails", lambda: {"value": 1 / 0})
    rows.take("hangs", hang)
    rows.take("last", lambda: {"value": float(len(rows.found))})


def hang() -> Figures:
    threading.Event().wait()
    return {}


if __name__ == "__main__":
    main()
