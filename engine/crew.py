"""Threads that share the work of our own C (`crew.c`)."""

from __future__ import annotations

import ctypes
import weakref
from pathlib import Path
from typing import Final

from engine.library import LibraryError, load_library

_SOURCE: Final = Path(__file__).with_name("crew.c")


class Crew:
    """A caller and its helpers, which begin with the first work, sleep between steps, and end with `close`.

    They take small pieces by turns, so one that has no core holds up nothing but the piece that it has begun. Two may
    call at once: the second one works alone. Who computes a piece never changes a number.
    """

    def __init__(self, library: ctypes.CDLL | None, members: int) -> None:
        """`members`: the caller included. Without a library, or memory, the caller is alone."""
        self._address: int | None = None
        if library is not None and members > 1:
            library.sluice_crew.argtypes, library.sluice_crew.restype = [ctypes.c_int], ctypes.c_void_p
            library.sluice_crew_end.argtypes, library.sluice_crew_end.restype = [ctypes.c_void_p], None
            self._address = library.sluice_crew(members)
        self.members = 1 if self._address is None else members
        if library is not None and self._address is not None:
            self._end = weakref.finalize(self, library.sluice_crew_end, self._address)
            self._end.atexit = False  # they end with the process

    @classmethod
    def load(cls, folder: Path | None, members: int) -> Crew:
        """Compiled into `folder`, once. Raises LibraryError."""
        if folder is None:
            raise LibraryError("there is no folder for compiled C; name one in native_dir")
        return cls(load_library(_SOURCE, (), folder), members)

    def __repr__(self) -> str:
        return f"<Crew members={self.members}>"

    @property
    def address(self) -> int | None:
        """What C knows it by; None: whoever calls is alone."""
        return self._address

    def close(self) -> None:
        """End the helpers; nobody is calling. Whoever calls later is alone."""
        if self._address is not None:
            self._address = None
            self._end()
