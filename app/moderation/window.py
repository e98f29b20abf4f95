"""The last folded characters of a text, for what is known only from them."""

from __future__ import annotations

from typing import Final

from app.moderation.fold import FoldTable

_WINDOW: Final = 1024  # folded characters that are kept; twice that before trimming


class Window:
    """`starts`: raw position of each character, if the owner tells them."""

    __slots__ = ("_fold", "_text", "starts")

    def __init__(self, fold: FoldTable) -> None:
        self.starts: list[int] = []
        self._fold = fold
        self._text = ""

    def add(self, folded: str) -> None:
        self._text += folded
        if len(self._text) > 2 * _WINDOW:
            self._trim()

    def add_raw(self, text: str) -> None:
        """Characters that fold to one each."""
        plain = text.isascii() and text.isprintable()
        self._text += text.lower() if plain else "".join(map(self._fold.__getitem__, text))
        if len(self._text) > 2 * _WINDOW:
            self._trim()

    def last(self, count: int) -> str:
        return self._text[-count:]

    def clear(self) -> None:
        """Nothing of the text so far will be asked for."""
        self._text = ""
        self.starts.clear()

    def _trim(self) -> None:
        surplus = len(self._text) - _WINDOW
        self._text = self._text[surplus:]
        del self.starts[:surplus]

    def __repr__(self) -> str:
        return f"<Window of {len(self._text)}>"
