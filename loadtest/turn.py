"""What a turn is asked with, and what it took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

CountedBy = Literal["usage", "deltas"]


@dataclass(frozen=True, slots=True)
class Ask:
    """How a turn is asked for. `ignore_eos` gives every answer the same length: `max_tokens`."""

    max_tokens: int
    ignore_eos: bool = True
    timeout_s: float = 120.0
    store: bool = False  # whether our server writes the response down; peers keep none


@dataclass(slots=True)
class Turn:
    """What one turn took, by the client's clock in seconds. A turn with a `fault` gives no figures."""

    asked_at: float
    delta_at: list[float] = field(default_factory=list)
    ended_at: float | None = None
    output_tokens: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    counted_by: CountedBy = "deltas"
    fault: str | None = None
    detail: str = ""

    @property
    def first_text_s(self) -> float | None:
        return self.delta_at[0] - self.asked_at if self.delta_at else None

    @property
    def gaps_s(self) -> list[float]:
        """Between deltas; one delta is a token as a rule, and more where text was held back or joined."""
        return [after - before for before, after in zip(self.delta_at, self.delta_at[1:], strict=False)]

    def fail(self, fault: str, detail: str = "") -> None:
        """The first fault is the one that counts."""
        if self.fault is None:
            self.fault, self.detail = fault, " ".join(detail.split())[:200]

    def count(self, output: int | None, input: int = 0, cached: int = 0) -> None:
        """The server's own count; None where it gives none, and the deltas are counted."""
        if output is None:
            self.output_tokens, self.counted_by = len(self.delta_at), "deltas"
        else:
            self.output_tokens, self.counted_by = output, "usage"
            self.input_tokens, self.cached_tokens = input, cached


class Conversation(Protocol):
    """One user's chat with a server. Errors are raised as they come; `loadtest.faults` names them."""

    async def open(self) -> None:
        """Connect, where a connection outlives a turn."""

    async def say(self, line: str, ask: Ask, turn: Turn, on_delta: Callable[[], None]) -> None:
        """Ask, with all that was said before, and read the answer to its end into `turn`."""

    async def close(self) -> None:
        """Leave. A later `say` opens anew."""
