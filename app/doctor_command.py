"""`sluice doctor`: what a start would do here, printed."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final

from app.config import Config
from app.doctor import examine
from app.finding import Finding
from app.load_config import help_text

HELP: Final = """usage: sluice doctor [--json] [SETTING VALUE ...]

Print what a start with these settings would do: versions, machine, number type and why, our own C or torch, threads,
the plan of the memory, policy, folders, store, address. The exit code is 1 if something that is asked for cannot work.

  --json
      the same as one JSON object
"""


def doctor_command(argv: Sequence[str], load: Callable[[Sequence[str]], Config]) -> int:
    """Raises ConfigError."""
    if "-h" in argv or "--help" in argv:
        print(f"{HELP}\n{help_text()}")
        return 0
    config = load([word for word in argv if word != "--json"])
    logging.disable()  # what would be logged is in the report
    try:
        findings = asyncio.run(examine(config))
    finally:
        logging.disable(logging.NOTSET)
    print(as_json(findings) if "--json" in argv else as_text(findings))
    return int(any(one.fault for one in findings))


def as_text(findings: Sequence[Finding]) -> str:
    width = max(len(one.name) for one in findings)
    lines = []
    for part, group in groupby(findings, lambda one: one.part):
        lines.append(part)
        lines += [f"  {one.name:<{width}}  {'FAULT: ' if one.fault else ''}{one.value}" for one in group]
    return "\n".join(lines)


def as_json(findings: Sequence[Finding]) -> str:
    """The parts as objects, and under `faults` what cannot work."""
    report: dict[str, object] = {"ok": not any(one.fault for one in findings)}
    report["faults"] = [f"{one.part}, {one.name}: {one.value}" for one in findings if one.fault]
    for part, group in groupby(findings, lambda one: one.part):
        report[part] = {one.name: one.value for one in group}
    return json.dumps(report, indent=2)
