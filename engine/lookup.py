"""Guesses of what a reply says next: what came behind the same few tokens last time, in its prompt or in itself.

Pure. A token costs a look into a table, however long the context is.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence as Items
from typing import Final

LENGTH: Final = 3  # tokens that must be the same: of two there are too many by chance, of four too few
MOST_SLOTS: Final = 1 << 16  # 256 KiB; a longer context overwrites its oldest places
_FACTORS: Final = (
    0x9E3779B1,
    0x85EBCA6B,
    0xC2B2AE35,
)  # odd and of many bits: neighbours get places far apart
_HELD: Final = 4  # guesses in a row that were right: from there on another rate counts
_RATES: Final = (0.3, 0.6)  # what is believed of a fresh and of a held place before anything is known
_WEIGHT: Final = 0.2  # of the latest guess


class Lookup:
    """Follows one sequence and keeps a place in it that is thought to go on as the sequence does.

    Every token says whether the place was right, whether or not a guess was made of it: so the rate at which guesses
    are right is known at no cost, and a sequence that never repeats itself is never guessed at.
    """

    def __init__(self, prompt: Items[int], most_output: int) -> None:
        self._ids = ids = list(prompt)
        wanted = 2 * (len(ids) + most_output)
        self._mask = min(MOST_SLOTS, 1 << wanted.bit_length()) - 1
        # slot -> where the tokens behind the latest such three begin; 0: nowhere
        self._table = array("i", bytes(4 * (self._mask + 1)))
        for end in range(max(LENGTH, len(ids) - MOST_SLOTS), len(ids)):
            self._table[_mixed(*ids[end - LENGTH : end]) & self._mask] = end
        self._rates = list(_RATES)
        self._right = 0  # in a row
        self._place = 0  # of the next guess in `_ids`; 0: there is none
        self._look()

    def follow(self, token: int) -> None:
        """`token` was generated."""
        ids, place = self._ids, self._place
        if place:
            right = ids[place] == token
            held = self._right >= _HELD
            self._rates[held] += _WEIGHT * (right - self._rates[held])
            self._right = self._right + 1 if right else 0
            self._place = place + 1 if right else 0
        ids.append(token)
        self._look()

    def rate(self, ahead: int) -> float:
        """How likely the guess behind `ahead` right ones is right too."""
        return self._rates[self._right + ahead >= _HELD] if self._place else 0.0

    def guess(self, count: int) -> list[int]:
        """The next `count` tokens, if it goes on as at the place; none if there is no such place."""
        if not self._place:
            return []
        guesses = self._ids[self._place : self._place + count]
        period = len(self._ids) - self._place
        while len(guesses) < count:  # the place is in what is repeated just now
            guesses.append(guesses[-period])
        return guesses

    def _look(self) -> None:
        """Enter the last tokens, and find a place if there is none."""
        ids = self._ids
        if len(ids) < LENGTH:
            return
        latest = ids[-LENGTH:]
        slot = _mixed(*latest) & self._mask
        if not self._place:
            place = self._table[slot]
            if 0 < place < len(ids) and ids[place - LENGTH : place] == latest:
                self._place = place
        self._table[slot] = len(ids)

    def __repr__(self) -> str:
        fresh, held = self._rates
        return f"<Lookup tokens={len(self._ids)} right={self._right} rates={fresh:.2f},{held:.2f}>"


def _mixed(first: int, second: int, third: int) -> int:
    mixed = first * _FACTORS[0] ^ second * _FACTORS[1] ^ third * _FACTORS[2]
    return mixed ^ mixed >> 17
