"""A caller's hold on a response that it asked for."""

from __future__ import annotations

from dataclasses import dataclass

from app.turn import Turn


@dataclass(slots=True, eq=False)
class Handle:
    """`turn`: the response's, once it has begun."""

    turn: Turn | None = None
    left: bool = False

    def leave(self) -> None:
        """The caller is gone: end the response."""
        self.left = True
        if self.turn is not None:
            self.turn.cancel()
