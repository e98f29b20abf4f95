"""How likely tokens were: the same shape in the Responses and the chat dialect."""

from __future__ import annotations

from msgspec import Struct


class TopLogprob(Struct, frozen=True):
    """`token` is its text, U+FFFD for broken characters, or a special token's name; `bytes` is its text exactly."""

    token: str
    bytes: tuple[int, ...]
    logprob: float


class TokenLogprob(Struct, frozen=True):
    """A token of released text, and the likeliest tokens at its place."""

    token: str
    bytes: tuple[int, ...]
    logprob: float
    top_logprobs: tuple[TopLogprob, ...] = ()
