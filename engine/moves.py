"""Pages that are copied between the device and the host's memory, beside the steps: what is asked of a runner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

Pair: TypeAlias = tuple[int, int]


@dataclass(slots=True)
class Moves:
    """Whole pages to copy, all layers. `at_once` is between the steps, behind those that were sent and before the next;
    the rest, in this order, is behind that and beside the steps that follow."""

    at_once: list[Pair] = field(default_factory=list)  # (page, host page)
    out: list[Pair] = field(default_factory=list)  # (page, host page)
    back: list[Pair] = field(default_factory=list)  # (host page, page)
    copies: list[Pair] = field(default_factory=list)  # (page, page)

    @property
    def beside(self) -> bool:
        """Whether there is anything beside the steps."""
        return bool(self.out or self.back or self.copies)

    def __bool__(self) -> bool:
        return bool(self.at_once) or self.beside


class Underway(Protocol):
    """Copies that were sent. They end in the order in which they were sent."""

    def query(self) -> bool:
        """Whether they have ended."""
        ...

    def synchronize(self) -> None:
        """Wait for that. Other threads run meanwhile."""
        ...


class Mover(Protocol):
    """A runner's way to the host's memory. Called from the runner's thread only."""

    @property
    def pages(self) -> int:
        """How many there is room for."""
        ...

    @property
    def page_bytes(self) -> int: ...

    def send(self, moves: Moves) -> Underway:
        """Begin; returns at once. What is beside the steps writes to no page that a step may touch meanwhile, and reads
        none that it may write. If it raises, what it has begun has ended."""
        ...
