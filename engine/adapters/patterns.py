"""The regular expressions of a configuration, matched in a process of their own within a time limit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from engine.adapters import matching
from engine.adapters.config import ConfigFault

LIMIT_S: Final = 5.0
"""For all of a configuration. Python takes some 20 ms to start; PEFT's own patterns for 500 modules take less."""
_MATCH: Final = (sys.executable, "-I", "-S", str(Path(matching.__file__)))


@dataclass(frozen=True, slots=True)
class Pattern:
    """`text` is what the field holds, `expression` what is matched: with the whole name, with its beginning, or so that
    it finds a number."""

    field: str
    text: str
    how: Literal["whole", "match", "number"]
    expression: str


Found: TypeAlias = Mapping[Pattern, Mapping[str, str]]
"""The names that each pattern matches, with the digits of the number that it finds or an empty text."""


def whole_name(field: str, text: str) -> Pattern:
    return Pattern(field, text, "whole", text)


def end_of_name(field: str, text: str) -> Pattern:
    return Pattern(field, text, "match", rf"(.*\.)?({text})$")


def layer_number(text: str) -> Pattern:
    return Pattern("layers_pattern", text, "number", rf"(?:^|.*?\.){text}\.(\d+)\.")


ANY_LAYER: Final = Pattern("layers_to_transform", "", "number", r".*?\.[^.]*\.(\d+)\.")


def find(patterns: Sequence[Pattern], names: Sequence[str], limit_s: float = LIMIT_S) -> Found:
    """Slow: in a thread. Raises ConfigFault naming the field of the pattern that is none or takes too long."""
    if not patterns:
        return {}
    asked = json.dumps([[(one.how, one.expression) for one in patterns], list(names)])
    done, ended = _run(asked.encode(), limit_s)
    found: dict[Pattern, Mapping[str, str]] = {}
    for pattern, line in zip(patterns, done, strict=False):
        answer = json.loads(line)
        if "fault" in answer:
            raise ConfigFault(f"{pattern.field} holds {pattern.text[:80]!r}, {answer['fault']}")
        found[pattern] = answer["found"]
    if len(done) < len(patterns):
        stuck = patterns[len(done)]
        raise ConfigFault(
            f"{stuck.field} holds {stuck.text[:80]!r}, which {ended}; write a simpler pattern, or a list of names"
        )
    return found


def _run(asked: bytes, limit_s: float) -> tuple[list[bytes], str]:
    """The lines that the other process wrote, and what became of it if they are not all."""
    try:
        ended = subprocess.run(_MATCH, input=asked, capture_output=True, timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        return _lines(error.stdout or b""), f"takes more than {limit_s:g} s to match"
    return _lines(ended.stdout), f"cannot be matched (the process for it ended with {ended.returncode})"


def _lines(written: bytes) -> list[bytes]:
    """Whole ones."""
    return written.split(b"\n")[:-1]
