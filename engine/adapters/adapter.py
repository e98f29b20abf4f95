"""An adapter that is loaded: what distinguishes it, and what its engine made of its files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

_NAME: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
)  # no colon: it parts a model's name from an adapter's


class AdapterError(ValueError):
    """The adapter cannot be had; the message names it, the fault and a way out."""

    def __init__(self, name: str, fault: str) -> None:
        super().__init__(f"adapter {name!r}: {fault}")


class AdapterNameError(AdapterError):
    """It cannot be called so."""


class AdapterQueueError(AdapterError):
    """Too many wait to be loaded; the same request may succeed soon."""


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """One load of an adapter. Requests hold it, so it lives until the last of them has ended.

    `identity` is a digest of its files: keys and values that were computed with other content are not its own, whatever
    it is called.
    """

    name: str
    identity: str
    rank: int  # the greatest of its matrices
    bytes: int  # of memory that it takes
    loaded_at: int  # unix seconds
    content: Any = None  # for the engine's own runner

    def __repr__(self) -> str:
        return f"<Adapter {self.name} {self.identity[:8]} rank={self.rank}>"


def check_name(name: str) -> None:
    """Raises AdapterNameError for a name that could not be asked for."""
    if not _NAME.fullmatch(name):
        raise AdapterNameError(
            name, "the name must be 1-64 letters, digits, dots, _ and -, a letter or a digit first; rename it"
        )
