"""The items of a reply while they are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from protocol.items import OutputMessage, OutputText
from protocol.logprobs import TokenLogprob
from protocol.tools import FunctionCall


@dataclass(slots=True, eq=False)
class Message:
    """A message while it is made."""

    id: str
    pieces: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    annotations: tuple[dict[str, Any], ...] = ()

    def item(self, status: Any) -> OutputMessage:
        part = OutputText(
            text="".join(self.pieces), annotations=self.annotations, logprobs=tuple(self.logprobs)
        )
        return OutputMessage(id=self.id, status=status, content=(part,))


@dataclass(slots=True)
class Echo:
    """A call that has said, so far, what others said before it."""

    name: str
    others: list[str]  # their arguments
    characters: int = 0

    def goes_on(self, text: str) -> bool:
        """Whether it still may be one of them."""
        self.others = [other for other in self.others if other.startswith(text, self.characters)]
        self.characters += len(text)
        return bool(self.others)

    def is_whole(self) -> bool:
        return any(len(other) == self.characters for other in self.others)


@dataclass(slots=True, eq=False)
class Called:
    """A call while it is made."""

    id: str
    call_id: str
    name: str
    pieces: list[str] = field(default_factory=list)
    whole: bool = False

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)

    def item(self, status: Any) -> FunctionCall:
        if self.whole:
            status = "completed"
        elif status == "completed":
            status = "incomplete"
        return FunctionCall(
            id=self.id, call_id=self.call_id, name=self.name, arguments=self.arguments, status=status
        )
