"""What one rendering of a chat template may make, told before it is made."""

from __future__ import annotations

import re
import threading
from collections.abc import ItemsView, Iterable, KeysView, Mapping, Set, ValuesView
from typing import Any, Final

from jinja2.exceptions import SecurityError
from jinja2.utils import Namespace

LEAST_CHARS: Final = 1 << 24
"""Of a conversation of nothing. A template's own text has 20,000 at most, and a trial's megabytes are refused."""

CHARS_A_CHAR: Final = 256
"""Of each character given. Templates trim, split and join what they write some ten times, and a few add up one text
message by message."""

MAX_BITS: Final = 4096
"""Of a whole number: products and powers of greater ones take seconds, in which nothing else has the interpreter."""

MAX_PARTS: Final = 1 << 18
"""Lists and mappings in a value, each as often as it stands there: to compare or hash it is one instruction, in which
nothing else has the interpreter. A conversation has some thousand messages, and tools 65,536 parts at the most."""

MAX_DEPTH: Final = 256
"""Of lists in each other: hashing follows them on the thread's stack, which ends the process where it ends. Tools have
32 levels."""

_PERCENT: Final = re.compile(r"%(?:\(.*?\))?[-#0 +]*(\*|\d*)(?:\.(\*|\d*))?", re.DOTALL)
_DIGITS: Final = re.compile(r"\d+")
_LISTS: Final = (list, tuple, Set, KeysView, ValuesView, ItemsView)


class TooMuch(SecurityError):
    """The template makes more than it may."""


class Budget(threading.local):
    """What is left in this thread's rendering. Outside of one nothing is: what Jinja would compute once, when it
    compiles, it computes then."""

    most = 0
    left = 0

    def begin(self, given: int) -> None:
        self.most = self.left = LEAST_CHARS + CHARS_A_CHAR * given

    def spend(self, chars: int) -> None:
        """Raises TooMuch."""
        self.left -= chars
        if self.left < 0:
            raise TooMuch(f"it makes more than {self.most:,} characters of this conversation")

    def spend_text(self, value: Any) -> None:
        """For the text of any value."""
        self.spend(len(value) if isinstance(value, str) else weight(value, self.left))

    def number(self, bits: int) -> None:
        if bits > MAX_BITS:
            raise TooMuch(f"it makes a number of more than {MAX_BITS:,} bits")


def check_parts(value: Any) -> None:
    """Raises TooMuch where it nests lists too deep, or to too many parts."""
    if _parts(value, {}, 0) > MAX_PARTS:
        raise TooMuch(f"it nests lists to more than {MAX_PARTS:,} parts")


def _parts(value: Any, known: dict[int, tuple[int, list[Any]]], depth: int) -> int:
    """known: of each list its parts, and what it holds, so that no id is given to another meanwhile."""
    if isinstance(value, str | int | float) or not isinstance(value, (Mapping, *_LISTS)):
        return 0
    if depth > MAX_DEPTH:
        raise TooMuch(f"it nests lists more than {MAX_DEPTH} deep")
    if id(value) not in known:
        inner = [*value.keys(), *value.values()] if isinstance(value, Mapping) else list(value)
        total = 1
        for one in inner:
            total += _parts(one, known, depth + 1)
        known[id(value)] = total, inner
    return known[id(value)][0]


def weight(value: Any, enough: int) -> int:
    """About the characters of its text, with each list as often as it stands in others; counted until `enough`."""
    total, waiting = 0, [value]
    while waiting and total <= enough:
        match waiting.pop():
            case str() | bytes() as text:
                total += len(text)
            case Mapping() as pairs:
                total += 2
                waiting += [*pairs.keys(), *pairs.values()]
            case items if isinstance(items, _LISTS):
                total += 2
                waiting += items
            case Namespace():  # nobody writes one, and its values are not to be had
                return enough + 1
            case _:
                total += 20
    return total


def of_replacing(text: Any, old: Any, new: Any) -> int:
    return int(len(text) + text.count(old) * len(new))


def of_joining(between: Any, parts: Any, enough: int) -> int:
    return len(between) * len(parts) + weight(parts, enough)


def of_percent(text: str, values: Any, enough: int) -> int:
    """`text % values`. Raises TooMuch where a width is one of the values."""
    found = _PERCENT.findall(text)
    if any("*" in widths for widths in found):
        raise TooMuch("it takes a width from what it formats")
    padding = sum(int(width) for widths in found for width in widths if width)
    return len(text) + padding + len(found) * weight(values, enough)


def of_widths(spec: str) -> int:
    """The numbers in a field's format."""
    return sum(map(int, _DIGITS.findall(spec)))


def of_arguments(arguments: Iterable[Any], enough: int) -> int:
    """Whole numbers at their value, anything else at its text's length."""
    given = [one for one in arguments if one is not None]
    return sum(abs(one) if isinstance(one, int) else weight(one, enough) for one in given)
