"""Faults of libraries in Rust: pyo3 raises them as no `Exception`, so what keeps one request's faults from the others
would let them through, and they would end the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class LibraryPanic(Exception):
    """A library met a fault of its own."""


def as_exception(fault: BaseException) -> BaseException:
    """The fault, or what stands for a panic."""
    return LibraryPanic(str(fault)) if type(fault).__module__ == "pyo3_runtime" else fault


@contextmanager
def panics_raised() -> Iterator[None]:
    """Raises LibraryPanic for a panic within."""
    try:
        yield
    except Exception:
        raise
    except BaseException as fault:
        raise as_exception(fault) from None
