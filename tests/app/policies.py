"""Policies for the tests of a whole server, written where it reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

OUTPUT = ("output",)
INPUT = ("input",)
US_NUMBER = r"\b\d{3}-\d{2}-\d{4}\b"


def rule(
    category: str,
    action: str,
    applies_to: Sequence[str],
    *terms: str,
    patterns: Sequence[str] = (),
) -> str:
    given = {"category": category, "action": action, "applies_to": list(applies_to)}
    given |= {"terms": list(terms)} if terms else {}
    given |= {"patterns": list(patterns)} if patterns else {}
    return "\n".join(["[[rule]]", *(f"{name} = {json.dumps(value)}" for name, value in given.items())])


FORBIDDEN = rule("custom/forbidden", "block", OUTPUT, "forbidden phrase")
NOTED = rule("custom/noted", "annotate", OUTPUT, "remarkable")
UNSAID = rule("custom/unsaid", "block", INPUT, "unsayable")


def write_policy(folder: Path, *rules: str, version: str = "1") -> Path:
    path = folder / "policy.toml"
    path.write_text("\n".join([f"version = {json.dumps(version)}", *rules]) + "\n")
    return path
