"""Where a value that stands before a tag ends (pure)."""

from __future__ import annotations

import re
from typing import Final

_INSIDE: Final = re.compile(r'["\\\n]')


class ValueEnd:
    """The first `close` that is not within a string; a string that does not end on its line is none.

    `find` gets the value from its beginning on, longer each time, and looks at each character once.
    """

    def __init__(self, close: str) -> None:
        self._close = close
        self._outside = re.compile(rf'["{re.escape(close[0])}]')
        self._at = 0
        self._quoted = False

    def find(self, held: str) -> int | None:
        """Where `close` ends; None while it is not there."""
        while found := (_INSIDE if self._quoted else self._outside).search(held, self._at):
            self._at = found.start()
            match found[0]:
                case '"':
                    self._quoted = not self._quoted
                case "\n":
                    self._quoted = False
                case "\\":
                    if found.end() == len(held):
                        return None
                    self._at += held[found.end()] != "\n"
                case _:
                    if held.startswith(self._close, self._at):
                        return self._at + len(self._close)
                    if self._close.startswith(held[self._at : self._at + len(self._close)]):
                        return None
            self._at += 1
        self._at = len(held)
        return None
