"""What a gate says: at each push, when it cuts, and of a response as a whole. None of it holds withheld text."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.moderation.notes import Annotation
from app.moderation.policy import Action


class Cut(msgspec.Struct, frozen=True):
    """Why the text ends here. `hold_cap`: an undecided match grew past the cap and the policy is closed."""

    category: str
    policy_version: str
    action: Action  # of the rule; `block`, or `redact` at the hold's cap
    reason: Literal["match", "hold_cap"] = "match"


class GateStep(msgspec.Struct, frozen=True):
    """What a push made certain. A msgspec struct, since one is made for every delta (0.1 µs instead of 0.5)."""

    released: str
    cut: Cut | None = None
    annotations: tuple[Annotation, ...] = ()

    def __repr__(self) -> str:
        return f"<GateStep released={len(self.released)} cut={self.cut} annotations={len(self.annotations)}>"


class Summary(msgspec.Struct, frozen=True):
    """What happened to a response so far; `seen` holds (category, action) of every rule that took effect."""

    policy_version: str
    policy_digest: str
    seen: tuple[tuple[str, Action], ...]
    redactions: int
    released: int  # characters, `[redacted]` included
    withheld: int  # characters taken in and not shown: redacted, held, or at and after a cut
