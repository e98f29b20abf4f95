"""Checks that tell a real number or key from a look-alike; each gets the folded text of a match."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final


def luhn(text: str) -> bool:
    """A payment card's check digit."""
    digits = [int(char) for char in text if char.isdecimal()]
    total = sum(digits[-1::-2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return len(digits) > 1 and total % 10 == 0


def iban(text: str) -> bool:
    """An international bank account number: its country's length, and the remainder by 97 (ISO 7064)."""
    length = IBAN_LENGTHS.get(text[:2])
    if length is None or length > len(text):
        return False  # most of what is asked, so without looking at the rest
    compact = "".join(filter(str.isalnum, text))
    if length != len(compact) or not compact.isascii():
        return False
    return int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4])) % 97 == 1


def mixed(text: str) -> bool:
    """Letters and digits both, as a random key has and a name made of words has not."""
    return any(char.isdecimal() for char in text) and any(char.isalpha() for char in text)


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
