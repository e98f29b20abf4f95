"""What a command lists, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

JSON_FLAG: Final = "--json"


def as_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The columns' names over lines of their values."""
    lines = [tuple(name.upper() for name in columns), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def as_json(listed: Any) -> str:
    return json.dumps(listed, indent=2)


def take_json_flag(words: list[str]) -> bool:
    """Whether `--json` is among the words of a command; it is taken out."""
    asked = JSON_FLAG in words
    words[:] = [word for word in words if word != JSON_FLAG]
    return asked
