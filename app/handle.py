"""A caller's hold on a response that it asked for."""

from __future__ import annotations

from dataclasses import dataclass

from app.turn import Turn
from protocol.response import ResponseError


@dataclass(slots=True, eq=False)
class Handle:
    """`turn`: the response's, once it has begun."""

    turn: Turn | None = None
    left: bool = False

    def leave(self, why: ResponseError | None = None) -> None:
        """The caller is gone, or the server ends it and says `why`: end the response."""
        self.left = True
        if self.turn is not None:
            self.turn.cancel(why)
