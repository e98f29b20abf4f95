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


Piece: TypeAlias = str | CallBegin | Arguments | CallEnd
"""A `str` is text outside of calls."""
