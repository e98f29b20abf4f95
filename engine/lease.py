"""What a sequence has of the pool, and what it leaves there."""

from __future__ import annotations

from dataclasses import dataclass

from engine.prefixes import Node


@dataclass(slots=True, eq=False)
class Lease:
    """The pages of one sequence, in order of position. Change it through its pool only."""

    salt: str
    pages: list[int]
    known: int  # the leading pages that are in the tree
    _node: Node | None  # the last of them

    def __repr__(self) -> str:
        return f"<Lease pages={len(self.pages)} known={self.known}>"


@dataclass(frozen=True, slots=True)
class Opened:
    lease: Lease
    cached_tokens: int  # leading positions that need not be computed
    copy: tuple[int, int] | None  # (source, target): copy this page before anything of the step is written
    batch: int = 0  # of moves: until it has landed nothing may be computed (`BlockPool.waits`)


@dataclass(frozen=True, slots=True)
class Left:
    """Pages that were given back with their content, and which life each was in: a later one has other content."""

    salt: str
    pages: tuple[int, ...]
    lives: tuple[int, ...]
