"""Where a call's arguments end, and the JSON that they are (pure)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Protocol

_OUTSIDE: Final = re.compile(r'[{}\[\]"]')
_INSIDE: Final = re.compile(r'["\\]')


class Read(NamedTuple):
    """`taken` characters of what there was are `text` in JSON."""

    taken: int
    text: str
    whole: bool = False  # the arguments end here


MORE: Final = Read(0, "")
"""More must come first."""


class ArgumentsReader(Protocol):
    """One call's arguments, read as they come; what they say does not depend on how the text is cut."""

    def read(self, held: str) -> Read:
        """What of `held`, which begins behind what was taken before, is certain."""
        ...


class JsonArguments:
    """An object as JSON, up to the brace that closes it."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = self._escaped = False

    def read(self, held: str) -> Read:
        at = 0
        if self._escaped:
            self._escaped = False
            at = 1
        while found := (_INSIDE if self._quoted else _OUTSIDE).search(held, at):
            at = found.end()
            match found[0]:
                case '"':
                    self._quoted = not self._quoted
                case "\\":
                    if at == len(held):
                        self._escaped = True
                        break
                    at += 1
                case "{" | "[":
                    self._depth += 1
                case _:
                    self._depth -= 1
                    if not self._depth:
                        return Read(at, held[:at], whole=True)
        return Read(len(held), held)
