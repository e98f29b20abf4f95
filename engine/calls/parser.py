"""A reply's text split into what is said and what is called (pure); the same pieces however the text is cut."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Final

from engine.calls.pieces import Arguments, CallBegin, CallEnd, Piece, Said
from engine.calls.syntax import CallSyntax

_OUTSIDE: Final = re.compile(r'[{}\[\]"]')
_INSIDE: Final = re.compile(r'["\\]')


class CallParser:
    """Takes the text as it comes. Only what may still become a call's beginning, or white space before one, is held.

    A call of a function that is not among `names` is text, as is what begins like a call and is none. White space
    around calls is dropped; text without calls comes out as it went in. `either`: a reply that begins with text is text
    to its end.
    """

    __slots__ = (
        "_arguments",
        "_behind_call",
        "_candidate",
        "_depth",
        "_either",
        "_escaped",
        "_heads",
        "_held",
        "_names",
        "_pieces",
        "_quoted",
        "_tail",
        "_tail_due",
        "_taken",
        "_text_only",
    )

    def __init__(self, syntax: CallSyntax, names: Set[str], *, either: bool = False) -> None:
        self._names = names
        self._heads = syntax.heads()
        self._tail = syntax.tail()
        # White space from its beginning on, so that a long run is looked at once.
        self._candidate = re.compile(rf"(?<!\s)\s*+(?:{re.escape(syntax.first())}|\Z)")
        self._held = ""
        self._taken = 0  # characters before what is held
        self._pieces: list[Piece] = []
        self._either = either
        self._text_only = False
        self._behind_call = False  # nothing was said since the last call
        self._tail_due = False
        self._arguments = False
        self._depth = 0
        self._quoted = self._escaped = False

    @property
    def taken(self) -> int:
        """How many characters it has told apart."""
        return self._taken

    @property
    def in_call(self) -> bool:
        """Whether a call has begun, or what closes it is still to come."""
        return self._arguments or self._tail_due

    def push(self, text: str) -> list[Piece]:
        """What `text`, behind what was pushed before, makes certain."""
        self._held += text
        while self._held and self._advance():
            pass
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self) -> list[Piece]:
        """The reply ends here: what was held is text."""
        if not self._tail_due:
            self._say(len(self._held))
        self._held = ""
        pieces, self._pieces = self._pieces, []
        return pieces

    def _advance(self) -> bool:
        """One step through what is held; False where more text must come first."""
        if self._arguments:
            self._read_arguments()
            return True
        if self._tail_due:
            return self._read_tail()
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
            for head in self._heads:
                opened = head.match(held, start)
                if opened is not None and opened["name"] in self._names:
                    self._say(start)
                    self._take(opened.end() - start)
                    self._pieces.append(CallBegin(opened["name"]))
                    self._arguments = True
                    return True
            if any(head.begun(held, start) for head in self._heads):
                self._say(start)
                return False
            at = found.end()

    def _read_arguments(self) -> None:
        """Up to the brace that closes them, or to the end of what there is."""
        held = self._held
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
                        self._end_call(at)
                        return
        self._pieces.append(Arguments(self._take(len(held))))

    def _end_call(self, at: int) -> None:
        self._pieces += (Arguments(self._take(at)), CallEnd())
        self._arguments = False
        self._tail_due = self._behind_call = True

    def _read_tail(self) -> bool:
        """Drop what closes the call, as far as the model wrote it."""
        whole = self._tail.match(self._held)
        end = whole.end() if whole else self._tail.begins_with(self._held)
        if whole is None and end == len(self._held):
            return False
        self._take(end)
        self._tail_due = False
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
