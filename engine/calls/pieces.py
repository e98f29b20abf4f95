"""What a reply with function calls consists of."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class CallBegin(NamedTuple):
    """The model calls a function that it was offered; the arguments follow."""

    name: str


class Arguments(NamedTuple):
    """More of the call's arguments: JSON as the model wrote it."""

    text: str


class CallEnd(NamedTuple):
    """The arguments are a whole JSON object."""


class Said(str):
    """Text outside of calls; in the reply it begins at the character `at`."""

    __slots__ = ("at",)
    at: int

    def __new__(cls, text: str, at: int) -> Said:
        self = super().__new__(cls, text)
        self.at = at
        return self


Piece: TypeAlias = Said | CallBegin | Arguments | CallEnd
