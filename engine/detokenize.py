"""Token ids to text as they come: only incomplete UTF-8 and undecided stop strings are held back.

Every class here is linear in what it is fed and gives the same joined text however that is split.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from typing import Protocol


class TextStream(Protocol):
    """One reply's ids turned into text. Special tokens are not text."""

    @property
    def holding(self) -> bool:
        """Whether some of the tokens' text is still to come."""
        ...

    def push(self, token: int) -> str:
        """The text that `token` completes."""
        ...

    def flush(self) -> str:
        """What is still held, at the end: U+FFFD for bytes that never became a character."""
        ...


class TokenTexts(dict[int, str | None]):
    """What tokens say by themselves, looked up once each; None where their bytes are not whole characters."""

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self.token_bytes = token_bytes

    def __missing__(self, token: int) -> str | None:
        text: str | None
        try:
            text = self.token_bytes(token).decode()
        except UnicodeDecodeError:
            text = None
        self[token] = text
        return text


class ByteStream:
    """For vocabularies whose tokens are byte strings wherever they stand (byte-level BPE, byte fallback)."""

    def __init__(self, texts: TokenTexts, *, drops_first_space: bool = False) -> None:
        """`texts` may be shared by all replies of a vocabulary."""
        self._texts = texts
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._drop_space = drops_first_space
        self._holding = False

    @property
    def holding(self) -> bool:
        return self._holding

    def push(self, token: int) -> str:
        text = self._texts[token]
        if text is None or self._holding:
            text = self._decoder.decode(self._texts.token_bytes(token))
            self._holding = bool(self._decoder.getstate()[0])
        return self._first(text) if self._drop_space and text else text

    def flush(self) -> str:
        text, self._holding = self._decoder.decode(b"", True), False
        return self._first(text) if self._drop_space and text else text

    def _first(self, text: str) -> str:
        self._drop_space = False
        return text.removeprefix(" ")


class WindowStream:
    """For any other tokenizer: decodes a short window of the latest ids again and emits what is new in it.

    `decode` must join texts of neighbours without looking further back than the window's start.
    """

    WINDOW = 6

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._settled = 0  # ids whose text has been emitted
        self._before = ""  # the text of those alone

    @property
    def holding(self) -> bool:
        return self._settled < len(self._ids)

    def push(self, token: int) -> str:
        self._ids.append(token)
        held = len(self._ids) - self._settled
        text = self._decode(self._ids)
        if text.endswith("\ufffd") and held < self.WINDOW:
            return ""
        return self._settle(text)

    def flush(self) -> str:
        return self._settle(self._decode(self._ids)) if self._ids else ""

    def _settle(self, text: str) -> str:
        new = text[len(self._before) :]
        self._ids = self._ids[-self.WINDOW :]
        self._settled = len(self._ids)
        self._before = self._decode(self._ids)
        return new


class StopStrings:
    """Cuts text before the first stop string that completes in it (of two that end together, the longer).

    For each string it keeps how much of it the text's end already matches (Knuth, Morris and Pratt), and
    holds back exactly the longest of these.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = [stop for stop in dict.fromkeys(stops) if stop]
        self._borders = [_borders(stop) for stop in self._stops]
        self._firsts = {stop[0] for stop in self._stops}
        self._matched = [0] * len(self._stops)
        self._held = ""
        self.matched = False

    def push(self, text: str) -> str:
        """The text that is safe to show; after a match, what stood before it and then nothing."""
        if not self._stops:
            return text
        if self.matched:
            return ""
        if not self._held and self._firsts.isdisjoint(text):
            return text
        shown = self._held + text
        for index, char in enumerate(text, start=len(self._held) + 1):
            if length := self._advance(char):
                self.matched, self._held = True, ""
                return shown[: index - length]
        cut = len(shown) - max(self._matched)
        self._held = shown[cut:]
        return shown[:cut]

    def flush(self) -> str:
        """What is still held, at the end: the beginning of a stop string that never completed."""
        held, self._held = self._held, ""
        return held

    def _advance(self, char: str) -> int:
        """Take one character; the length of the longest stop string that it completes, or 0."""
        longest = 0
        for n, (stop, borders) in enumerate(zip(self._stops, self._borders, strict=True)):
            matched = self._matched[n]
            while matched and stop[matched] != char:
                matched = borders[matched]
            if stop[matched] == char:
                matched += 1
            if matched == len(stop):
                longest = max(longest, matched)
                matched = 0
            self._matched[n] = matched
        return longest


def _borders(stop: str) -> list[int]:
    """For each length of a prefix of `stop`, the longest shorter prefix that is also its suffix."""
    borders = [0] * (len(stop) + 1)
    matched = 0
    for index in range(1, len(stop)):
        while matched and stop[index] != stop[matched]:
            matched = borders[matched]
        if stop[index] == stop[matched]:
            matched += 1
        borders[index + 1] = matched
    return borders
