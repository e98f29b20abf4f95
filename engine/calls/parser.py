"""A reply's text split into what is said and what is called (pure); the same pieces however the text is cut."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from engine.calls.arguments import MORE, ArgumentsReader
from engine.calls.pattern import Pattern
from engine.calls.pieces import Arguments, CallBegin, CallEnd, Piece, Said
from engine.calls.syntax import CallSyntax

_NO_SCHEMA: Final[Mapping[str, Any]] = {}
_AT_ONCE: Final = 4096
"""Characters of a long text that are looked at together, for what is behind them is copied with every piece."""


class CallParser:
    """Takes the text as it comes. Only what may still become a call's beginning, or white space before one, is held;
    of arguments, what the syntax leaves undecided.

    A call of a function that is not among `schemas` is text, as is what begins like a call and is none; `schemas` None
    takes any function. White space around calls is dropped; text without calls comes out as it went in. `either`: a
    reply that begins with text is text to its end.
    """

    __slots__ = (
        "_arguments",
        "_behind_call",
        "_candidate",
        "_either",
        "_heads",
        "_held",
        "_later",
        "_next_heads",
        "_open",
        "_pieces",
        "_readers",
        "_schemas",
        "_starts",
        "_syntax",
        "_tail_due",
        "_tails",
        "_taken",
        "_text_only",
    )

    def __init__(
        self, syntax: CallSyntax, schemas: Mapping[str, Mapping[str, Any]] | None, *, either: bool = False
    ) -> None:
        self._syntax = syntax
        self._schemas = schemas
        self._heads = syntax.heads()
        self._next_heads = syntax.next_heads()
        self._tails = syntax.tails()
        # White space from its beginning on, so that a long run is looked at once.
        self._candidate = re.compile(rf"(?<!\s)\s*+(?:{re.escape(syntax.trigger[0])}|\Z)")
        self._held = ""
        self._later: list[str] = []  # white space behind it
        self._taken = 0  # characters before what is held
        self._starts: list[int] = []
        self._pieces: list[Piece] = []
        self._either = either
        self._text_only = False
        self._behind_call = False  # nothing was said since the last call
        self._tail_due = False
        self._open = False  # what encloses a reply's calls has not been closed
        self._arguments: ArgumentsReader | None = None
        self._readers: dict[str, Callable[[], ArgumentsReader]] = {}  # of the functions that were called

    @property
    def taken(self) -> int:
        """How many characters it has told apart."""
        return self._taken

    @property
    def starts(self) -> Sequence[int]:
        """Where each call begins in the reply, as a number of characters."""
        return self._starts

    @property
    def in_call(self) -> bool:
        """Whether a call has begun, or what closes it is still to come."""
        return self._arguments is not None or self._tail_due

    def push(self, text: str) -> list[Piece]:
        """What `text`, behind what was pushed before, makes certain."""
        for start in range(0, len(text), _AT_ONCE):
            self._follow(text[start : start + _AT_ONCE])
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self) -> list[Piece]:
        """The reply ends here: what was held is text, if it is not of a call."""
        self._settle()
        if not self.in_call:
            self._say(len(self._held))
        self._held = ""
        pieces, self._pieces = self._pieces, []
        return pieces

    def _follow(self, text: str) -> None:
        self._later.append(text)
        # Whatever comes behind white space decides as well, so that a long run is looked at once.
        if not self._held or self._arguments is not None or not text.isspace():
            self._settle()

    def _settle(self) -> None:
        self._held += "".join(self._later)
        self._later.clear()
        while self._held and self._advance():
            pass

    def _advance(self) -> bool:
        """One step through what is held; False where more text must come first."""
        if self._arguments is not None:
            return self._read_arguments(self._arguments)
        if self._tail_due:
            return self._read_tail()
        if self._open:
            return self._read_next()
        return self._read_text()

    def _read_text(self) -> bool:
        held = self._held
        if self._text_only:
            self._say(len(held))
            return True
        at = 0
        while True:
            found = self._candidate.search(held, at)
            assert found is not None  # the end is always one
            start = found.start()
            if self._either and start:
                self._say(len(held))
                return True
            if opened := self._opened(self._heads, start):
                self._say(start)
                self._begin_call(opened, start)
                return True
            if any(head.begun(held, start) for head in self._heads):
                self._say(start)
                return False
            at = found.end()

    def _read_next(self) -> bool:
        """Whether another call follows at once, where those of a reply are enclosed together."""
        if opened := self._opened(self._next_heads, 0):
            self._begin_call(opened, 0)
            return True
        if any(head.begun(self._held) for head in self._next_heads):
            return False
        self._open = False
        return True

    def _opened(self, heads: Sequence[Pattern], start: int) -> re.Match[str] | None:
        """The beginning of a call that stands there, of a function that is offered."""
        for head in heads:
            opened = head.match(self._held, start)
            if opened is not None and (self._schemas is None or opened["name"] in self._schemas):
                return opened
        return None

    def _begin_call(self, opened: re.Match[str], start: int) -> None:
        self._starts.append(self._taken)
        self._take(opened.end() - start)
        name = opened["name"]
        self._pieces.append(CallBegin(name))
        if name not in self._readers:
            self._readers[name] = self._syntax.reader((self._schemas or {}).get(name, _NO_SCHEMA))
        self._arguments = self._readers[name]()

    def _read_arguments(self, reader: ArgumentsReader) -> bool:
        """As far as they are certain."""
        read = reader.read(self._held)
        if read == MORE:
            return False
        self._take(read.taken)
        if read.text:
            self._pieces.append(Arguments(read.text))
        if read.whole:
            self._pieces.append(CallEnd())
            self._arguments = None
            self._tail_due = bool(self._tails)
            self._open = bool(self._next_heads)
            self._behind_call = True
        return True

    def _read_tail(self) -> bool:
        """Drop what closes the call, as far as the model wrote it."""
        held = self._held
        for pattern in self._tails:
            if whole := pattern.match(held):
                tail = self._take(whole.end())
                break
            if pattern.begun(held):
                return False
        else:
            tail = self._take(max(pattern.begins_with(held) for pattern in self._tails))
        self._tail_due = False
        if self._syntax.closer and tail.endswith(self._syntax.closer):
            self._open = False
        return True

    def _say(self, characters: int) -> None:
        """So many of what is held are text."""
        text = self._take(characters)
        if self._behind_call:
            text = text.lstrip()
        if text:
            self._behind_call = False
            self._text_only = self._either
            self._pieces.append(Said(text, self._taken - len(text)))

    def _take(self, characters: int) -> str:
        text, self._held = self._held[:characters], self._held[characters:]
        self._taken += characters
        return text
