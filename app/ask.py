"""A request as the hub sees it, whatever dialect it came in."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace

from msgspec import structs

from app.principal import Principal
from app.store.record import StoredResponse
from protocol.requests.create import CreateResponse, InputTokens


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a response, whatever dialect it came in.

    `plain` is the prompt of a completion without a chat template; then `create.messages` is empty. `keep` is false for
    dialects whose answers have no id to come back to: no journal, no record. `local` holds the connection's own
    unstored responses.
    """

    create: CreateResponse
    principal: Principal
    plain: str | None = None
    param: str = "input"  # what the dialect calls its input, for the errors about it
    keep: bool = True
    local: MutableMapping[str, StoredResponse] = field(default_factory=dict)

    def limited(self, most: int | None) -> Ask:
        """The same, with so many output tokens at the most where it names no limit."""
        if most is None or self.create.max_output_tokens is not None:
            return self
        return replace(self, create=structs.replace(self.create, max_output_tokens=most))


@dataclass(frozen=True, slots=True)
class CountAsk:
    """A request to count an input's tokens."""

    create: InputTokens
    principal: Principal
    param: str = "input"
    local: MutableMapping[str, StoredResponse] = field(default_factory=dict)
