"""Regular expressions that also know what may still become a match."""

from __future__ import annotations

import re
from typing import Final

SPACE: Final = r"\s*+"
NAME: Final = r"(?P<name>[A-Za-z0-9_-]{1,64})"


class Pattern:
    """A regular expression made of parts, which also knows whether a text could become a match.

    A part is one character, or what may be repeated.
    """

    def __init__(self, *parts: str) -> None:
        self._whole = re.compile("".join(parts))
        begun = ""
        for part in reversed(parts):
            begun = f"(?:{part}{begun})?"
        self._begun = re.compile(begun)

    def match(self, text: str, at: int = 0) -> re.Match[str] | None:
        return self._whole.match(text, at)

    def begun(self, text: str, at: int = 0) -> bool:
        """Whether all of the text behind `at` is the beginning of a match."""
        return self._begun.fullmatch(text, at) is not None

    def begins_with(self, text: str) -> int:
        """How many characters of `text` are the beginning of a match."""
        found = self._begun.match(text)
        return found.end() if found else 0


def literal(text: str) -> tuple[str, ...]:
    """The parts of a text; where it has white space there may be any, or none."""
    parts = [SPACE if char.isspace() else re.escape(char) for char in text]
    return tuple(
        part
        for index, part in enumerate(parts)
        if not (part == SPACE and parts[index - 1 : index] == [SPACE])
    )


def member(key: str, *value: str) -> tuple[str, ...]:
    """The parts of a JSON object's member, or of its beginning where there is no value."""
    return (*literal(f'"{key}"'), SPACE, ":", SPACE, *value, *([SPACE] if value else []))
