"""Checks that tell a real number or key from a look-alike; each gets the folded text of a match."""

from __future__ import annotations

import re
from collections.abc import Callable
from string import ascii_lowercase
from typing import Final


def luhn(text: str) -> bool:
    """A payment card's check digit."""
    digits = text.encode("ascii", "ignore").translate(_VALUES, _NOT_DIGITS)
    total = sum(digits[::-2]) + sum(digits[-2::-2].translate(_DOUBLED))
    return len(digits) > 1 and total % 10 == 0


def iban(text: str) -> bool:
    """An international bank account number: its country's length, and the remainder by 97 (ISO 7064)."""
    length = IBAN_LENGTHS.get(text[:2])
    if length is None or length > len(text):
        return False  # most of what is asked, so without looking at the rest
    compact = text.replace(" ", "")
    if not compact.isalnum():
        compact = "".join(filter(str.isalnum, compact))
    if length != len(compact) or not compact.isascii():
        return False
    return int((compact[4:] + compact[:4]).translate(_LETTERS)) % 97 == 1


def mixed(text: str) -> bool:
    """Letters and digits both, as a random key has and a name made of words has not."""
    return _DIGIT.search(text) is not None and any(map(str.isalpha, text))


_DIGIT: Final = re.compile(r"\d")
_LETTERS: Final = {ord(letter): str(int(letter, 36)) for letter in ascii_lowercase}
# Bytes of ASCII digits to their values; and those to the sums of the digits of their doubles.
_NOT_DIGITS: Final = bytes(code for code in range(128) if not 0x30 <= code <= 0x39)
_VALUES: Final = bytes(code - 0x30 if 0x30 <= code <= 0x39 else 0 for code in range(256))
_DOUBLED: Final = bytes(sum(divmod(2 * code, 10)) if code < 10 else 0 for code in range(256))

VERIFIERS: Final[dict[str, Callable[[str], bool]]] = {"luhn": luhn, "iban": iban, "mixed": mixed}
LASTING: Final = frozenset({"mixed"})  # whatever passes, a longer text that contains it passes, too

# The registry's lengths, folded country codes.
IBAN_LENGTHS: Final[dict[str, int]] = {
    country: length
    for length, countries in (
        (15, "no"),
        (16, "be"),
        (18, "dk fi fk fo gl nl sd"),
        (19, "mk si"),
        (20, "at ba ee kz lt lu mn xk"),
        (21, "ch hr li lv"),
        (22, "bg bh cr de gb ge ie me rs va"),
        (23, "ae gi il iq om so tl"),
        (24, "ad cz es md pk ro sa se sk tn vg"),
        (25, "ly pt st"),
        (26, "is tr"),
        (27, "bi dj fr gr it mc mr sm"),
        (28, "al az by cy do gt hn hu lb ni pl sv"),
        (29, "br eg ps qa ua"),
        (30, "jo kw mu ye"),
        (31, "mt sc"),
        (32, "lc"),
        (33, "ru"),
    )
    for country in countries.split()
}
