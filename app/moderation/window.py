"""The last folded characters of a text, for what is known only from them."""

from __future__ import annotations

from typing import Final

from app.moderation.fold import FoldTable

_WINDOW: Final = 1024  # folded characters that are kept; twice that before trimming


class Window:
    """`starts`: raw position of each character, if the owner tells them."""

    __slots__ = ("_dropped", "_fold", "_text", "starts")

    def __init__(self, fold: FoldTable) -> None:
        self.starts: list[int] = []
        self._fold = fold
        self._text = ""
        self._dropped = 0  # the folded position of the first character kept

    def add(self, folded: str) -> None:
        self._text += folded
        if len(self._text) > 2 * _WINDOW:
            surplus = len(self._text) - _WINDOW
            self._dropped += surplus
            self._text = self._text[surplus:]
            del self.starts[:surplus]

    def add_raw(self, text: str) -> None:
        """Characters that fold to one each."""
        if text.isascii() and text.isprintable():
            self.add(text.lower())
        else:
            self.add("".join(map(self._fold.__getitem__, text)))

    def since(self, first: int) -> str:
        """The text from a folded position on."""
        return self._text[first - self._dropped :]

    def clear(self, position: int) -> None:
        """Nothing before a folded position, the next character's, will be asked for."""
        self._dropped = position
        self._text = ""
        self.starts.clear()

    def __repr__(self) -> str:
        return f"<Window of {len(self._text)}>"
