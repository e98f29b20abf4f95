"""A program of its own, with the standard library alone: which names match patterns that nobody vouches for.

Started by `patterns.py`: `re` holds the GIL while it matches, with some patterns for ever. It reads JSON, [patterns,
names]; a pattern is [how it is matched, itself]. It writes a line of JSON for each pattern as soon as that is done.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from typing import Final

_CPU_S: Final = (
    30  # should the server be killed, this ends too; it is far past the limit that the server sets
)


def answer(how: str, pattern: str, names: list[str]) -> dict[str, object]:
    """`found`: of each name that matches the number within it, where `how` is "number", or else an empty text;
    or `fault`: why this is no pattern."""
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return {"fault": f"no regular expression ({error})"}
    if how == "number" and compiled.groups != 1:
        return {"fault": "a pattern with a group of its own; write (?:...) in place of (...)"}
    found: dict[str, str] = {}
    for name in names:
        match = compiled.fullmatch(name) if how == "whole" else compiled.match(name)
        if match is not None:
            found[name] = match[1] or "" if how == "number" else ""
    return {"found": found}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    patterns, names = json.load(sys.stdin)
    for how, pattern in patterns:
        print(json.dumps(answer(how, pattern, names)), flush=True)


if __name__ == "__main__":
    main()
