"""How much a request may hold. Each default has its reason beside it, and a setting of the app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_CONTAINERS: Final = 65_536
MAX_INT32: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request's body, over HTTP and on the socket alike."""

    max_body_bytes: int = 4 * 1024 * 1024
    """Of a body or a message: some 1M tokens of English text, more than any context here."""
    max_nesting: int = 64
    """Levels of JSON: a request needs 6; metadata of ours never nests."""
    max_containers: int = MAX_CONTAINERS
    """Arrays and objects in a body: 4,096 messages of a few parts each. A million of them, which 4 MiB can hold,
    would keep the event loop busy for most of a second."""
    max_input_items: int = 4096
    """Messages in one request: a conversation of 2,000 turns sent whole."""
    max_parts: int = 256
    """Content parts of one message."""
    max_stop: int = 16
    """Stop strings: the standard says 4, other servers take more; each is matched on every token."""
    max_stop_chars: int = 256
    """Of one stop string: as much text may be held back while it is undecided."""
    max_logit_bias: int = 1024
    """Tokens with a bias: the standard names no number; a list of words to avoid has some hundreds."""
    max_schema_bytes: int = 65_536
    """Of a format's JSON schema: three times what 1,000 plain properties take; 100 kB compile in 78 ms."""
    max_tools: int = 128
    """Functions of one request, as the hosted API has it."""
    max_tools_bytes: int = 262_144
    """Of all functions' JSON: some 60,000 tokens, more than most contexts here."""
    max_tool_nesting: int = 32
    """Levels of a function's parameters: the hosted API takes 5 of its strict ones, six times that."""
    max_regex_chars: int = 4096
    """Of a format's regular expression; what it may cost is bounded where it is compiled."""
    max_output_tokens: int = MAX_INT32
    """Of a reply, as far as a request may ask for it: a model's context bounds it anyway."""
    max_metadata_pairs: int = 16
    """As the standard has it, like the two below."""
    max_metadata_key_chars: int = 64
    max_metadata_value_chars: int = 512
    max_label_chars: int = 512
    """Of a name the client chose: model, ids, safety identifier, cache key, user, event id."""
    max_moderation_inputs: int = 256
    """Texts in one moderation request; their length is bounded by the body."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of one socket, as the standard has them."""

    max_active: int = 16
    """Responses of a connection that run or wait for their lane."""
    max_lanes: int = 32
    """Named lanes in a connection's life: a name counts from its first turn until the socket closes, so that
    what a client sees does not depend on when its turns end. The default lane is not counted."""
    max_age_s: float = 3600.0
    """Until the connection is closed; long-lived clients reconnect and go on by `previous_response_id`."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
