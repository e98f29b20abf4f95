"""The sets of characters that patterns name, and which folded characters belong to them."""

from __future__ import annotations

from collections.abc import Callable
from re import _constants as op  # type: ignore[attr-defined]
from typing import Any, Final

from app.moderation.fold import fold_char, is_word

Accepts = Callable[[str], bool]
Items = Any  # the parser's own sequences of (opcode, argument)


class CharSets:
    """The distinct character sets of a policy, shared by its patterns; a set is named by its number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.accepts: list[Accepts] = []
        self.samples: set[str] = set(
            "a0_ -\uffff"
        )  # at least one character of each side of each set's borders

    def number(self, key: str, accepts: Accepts, samples: str) -> int:
        known = self._numbers.get(key)
        if known is not None:
            return known
        self._numbers[key] = len(self.accepts)
        self.accepts.append(accepts)
        self.samples.update(samples)
        return self._numbers[key]


def members(code: Any, argument: Any) -> tuple[Accepts, str]:
    """Which folded characters a set takes (case plays no part), and sample characters around its borders."""
    if code is op.ANY:
        return (lambda char: True), "\n"
    if code is op.LITERAL:
        return _any_of([(op.LITERAL, argument)])
    if code is op.NOT_LITERAL:
        return _any_of([(op.NEGATE, None), (op.LITERAL, argument)])
    return _any_of(argument)


def _any_of(items: Items) -> tuple[Accepts, str]:
    negated = bool(items) and items[0][0] is op.NEGATE
    spans: list[tuple[int, int]] = []
    tests: list[Accepts] = []
    for code, argument in items:
        if code is op.LITERAL:
            spans.append((argument, argument))
            spans.extend((ord(part), ord(part)) for part in fold_char(chr(argument)))
        elif code is op.RANGE:
            spans.append(argument)
        elif code is op.CATEGORY:
            tests.append(_CATEGORIES[str(argument)])

    def accepts(char: str) -> bool:
        codes = {ord(char), *(ord(cased) for cased in char.upper())} if char.isalpha() else {ord(char)}
        member = any(low <= code <= high for low, high in spans for code in codes)
        return (member or any(test(char) for test in tests)) is not negated

    borders = {code + offset for span in spans for code in span for offset in (-1, 0, 1)}
    samples = "".join(chr(code) for code in borders if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000)
    return accepts, samples + samples.lower()


_CATEGORIES: Final[dict[str, Accepts]] = {
    "CATEGORY_DIGIT": str.isdecimal,
    "CATEGORY_NOT_DIGIT": lambda char: not char.isdecimal(),
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_NOT_SPACE": lambda char: not char.isspace(),
    "CATEGORY_WORD": is_word,
    "CATEGORY_NOT_WORD": lambda char: not is_word(char),
}
