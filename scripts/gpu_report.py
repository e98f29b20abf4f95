"""What both GPU scripts say about a run: the machine, a table last, JSON in a file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def options(name: str, about: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m scripts.{name}", description=about)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--interpret", action="store_true", help="kernels in Triton's interpreter: a dry run")
    parser.add_argument("--model", type=Path, help="a real model's folder: what fewer bits cost it")
    parser.add_argument(
        "--weights", nargs="*", choices=["bfloat16", "int8", "fp8"], help="what they are kept in"
    )
    parser.add_argument("--kv", nargs="*", choices=["auto", "fp8"], help="what keys and values are kept in")
    out = Path(os.environ.get("OUT") or ".")
    parser.add_argument(
        "--json",
        type=Path,
        default=out / f"{name}.json",
        help="where all results go; in $OUT, where that is set",
    )
    parser.add_argument("--minutes", type=float, default=8.5, help="after which no row begins")
    parser.add_argument("--row-minutes", type=float, default=4.0, help="after which a row is given up")
    return parser


def prepare(given: argparse.Namespace) -> None:
    """To be called before anything imports Triton."""
    if given.device == "cpu" and not given.interpret:
        raise SystemExit("--device cpu needs --interpret: kernels are compiled for GPUs only")
    if given.interpret:
        os.environ["TRITON_INTERPRET"] = "1"


def machine(device: str) -> dict[str, str]:
    """What the figures depend on."""
    import torch
    import transformers
    import triton

    return {
        "device": torch.cuda.get_device_name()
        if device == "cuda"
        else "cpu, a dry run: its times say nothing",
        "torch": torch.__version__,
        "triton": triton.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "commit": _commit(),
    }


def _commit() -> str:
    """A bare machine may lack git, or the checkout its history."""
    asked = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def write(path: Path, content: dict[str, Any]) -> None:
    """All of it or nothing: whoever stops the run finds what was there before."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
