"""How a family of models writes its calls: as data, for the parser, for the history and for the mask."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

SPACE: Final = r"\s*+"
_NAME: Final = ('"', r"(?P<name>[A-Za-z0-9_-]{1,64})", '"')


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


@dataclass(frozen=True, slots=True)
class CallSyntax:
    """`before` and `behind` enclose a call's object, whose members are `name` and `arguments_key`."""

    before: str
    arguments_key: str
    behind: str

    @property
    def trigger(self) -> str:
        """What text that a model writes has only where a call begins."""
        return self.before.rstrip() or '{"name": "'

    def opening(self, name: str) -> str:
        return f'{self.before}{{"name": "{name}", "{self.arguments_key}": '

    @property
    def closing(self) -> str:
        return "}" + self.behind

    def written(self, name: str, arguments: str) -> str:
        """A call as the model would have written it."""
        return self.opening(name) + arguments + self.closing

    def heads(self) -> tuple[Pattern, ...]:
        """What stands before the arguments, white space in front of it included; their brace must follow."""
        begin = (SPACE, *_literal(self.before.rstrip()), SPACE, r"\{", SPACE)
        end = (*_member("name", *_NAME), ",", SPACE, *_member(self.arguments_key), r"(?=\{)")
        kind = (*_member("type", *_literal('"function"')), ",", SPACE)
        return Pattern(*begin, *end), Pattern(*begin, *kind, *end)

    def tail(self) -> Pattern:
        """What stands behind the arguments."""
        return Pattern(SPACE, r"\}", SPACE, *_literal(self.behind.strip()))

    def first(self) -> str:
        """The first character of a call that is not white space."""
        return (self.before.lstrip() or "{")[0]


def _literal(text: str) -> tuple[str, ...]:
    return tuple(map(re.escape, text))


def _member(key: str, *value: str) -> tuple[str, ...]:
    return (*_literal(f'"{key}"'), SPACE, ":", SPACE, *value, *([SPACE] if value else []))
