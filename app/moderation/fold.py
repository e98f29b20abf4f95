"""Folding: the text as the eye reads it, one raw character at a time, so that it can be mapped back.

NFKD, case folding, look-alike letters to ASCII, every decimal digit to ASCII, every white space to a space;
what shows nothing (format and control characters, combining marks) folds to the empty string.
Folding a text is joining the folded characters, save that white space runs shrink: see `SPACE_RUN`.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from app.moderation.confusables import LOOKALIKES

# Up to this many white-space characters in a row count as one space; the next begins a second one, so that
# what is held while a space may still belong to a match stays bounded.
SPACE_RUN: Final = 16

_MEMO_LIMIT: Final = 1 << 16  # entries; a text of all of Unicode must not grow the memo further

# Letters and symbols that render as nothing, though Unicode does not call them format characters.
_INVISIBLE: Final = frozenset(
    {0x115F, 0x1160, 0x17B4, 0x17B5, 0x2065, 0x3164, 0xFFA0, *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000)}
)


class FoldTable(dict[str, str]):
    """Character -> its folded text (none, one or several characters), filled as characters are met."""

    def __missing__(self, char: str) -> str:
        folded = fold_char(char)
        if len(self) < _MEMO_LIMIT:
            self[char] = folded
        return folded

    def __repr__(self) -> str:
        return f"<FoldTable {len(self)} characters>"


def fold_char(char: str) -> str:
    """The folded form of one character, without regard to its neighbours."""
    parts: list[str] = []
    for decomposed in unicodedata.normalize("NFKD", char):
        seen = LOOKALIKES.get(decomposed, decomposed)
        cased = unicodedata.normalize("NFKD", seen.casefold())
        parts.extend(_fold_plain(LOOKALIKES.get(part, part)) for part in cased)
    return "".join(parts)


def fold_text(text: str) -> str:
    """Folded text with white space shrunk to single spaces and trimmed: the form of a policy's terms."""
    return " ".join("".join(map(fold_char, text)).split())


def is_word(char: str) -> bool:
    """Whether a folded character is part of a word: letters, digits, connectors, spacing marks."""
    return char.isalnum() or char == "_" or unicodedata.category(char) in ("Mc", "Pc")


def _fold_plain(char: str) -> str:
    if char.isspace():
        return " "
    category = unicodedata.category(char)
    if category in ("Cf", "Mn", "Me", "Cc") or ord(char) in _INVISIBLE:
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(char))
    return char
