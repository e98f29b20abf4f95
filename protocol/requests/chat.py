"""`POST /v1/chat/completions`."""

from __future__ import annotations

from typing import Any, Final

from msgspec import field

from protocol.limits import Limits
from protocol.requests.fields import Fields, Off
from protocol.requests.format import read_response_format
from protocol.requests.message import Message, read_chat_messages
from protocol.requests.sampling import Sampled, read_metadata, read_sampled, read_top_logprobs
from protocol.requests.tools import Offer, check_offer, read_chat_tools

STREAM_OPTIONS_OFF: Final[Off] = {"include_obfuscation": (False,)}
CHAT_OFF: Final[Off] = {
    "audio": (),
    "function_call": ("auto", "none"),
    "functions": ([],),
    "modalities": (["text"],),
    "moderation": (),
    "n": (1,),
    "prediction": (),
    "prompt_cache_options": ({}, {"mode": "implicit"}),
    "prompt_cache_retention": ("in_memory",),
    "reasoning_effort": ("none",),
    "store": (False,),
    "verbosity": ("medium",),
    "web_search_options": (),
}


class ChatRequest(Sampled, frozen=True, kw_only=True):
    """One chat completion, asked for. `include_usage` adds a last chunk with the token counts to a stream."""

    messages: tuple[Message, ...]
    offer: Offer = Offer()
    stream: bool = False
    include_usage: bool = False
    metadata: dict[str, str] = field(default_factory=dict)
    prompt_cache_key: str | None = None


def parse_chat(body: dict[str, Any], limits: Limits) -> ChatRequest:
    """Check the body of POST /v1/chat/completions. Raises ProtocolError, `param` naming the field."""
    fields = Fields(body)
    offer = read_chat_tools(fields, limits)
    sampled = read_sampled(
        fields,
        limits,
        "max_completion_tokens",
        "max_tokens",
        format=read_response_format(fields, limits),
        logprobs=read_top_logprobs(fields, "'logprobs'", fields.flag("logprobs") or False),
    )
    check_offer(offer, sampled)
    chat = ChatRequest(
        messages=read_chat_messages(fields, limits),
        offer=offer,
        stream=fields.flag("stream") or False,
        include_usage=read_include_usage(fields),
        metadata=read_metadata(fields, limits),
        prompt_cache_key=fields.text("prompt_cache_key", limits.max_label_chars),
        **sampled,
    )
    fields.off(CHAT_OFF)
    fields.finish()
    return chat


def read_include_usage(fields: Fields) -> bool:
    options = fields.inner("stream_options")
    if options is None:
        return False
    include = options.flag("include_usage") or False
    options.off(STREAM_OPTIONS_OFF)
    options.finish()
    return include
