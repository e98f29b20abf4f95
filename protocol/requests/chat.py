"""`POST /v1/chat/completions`."""

from __future__ import annotations

from typing import Any

from msgspec import field

from protocol.limits import Limits
from protocol.requests.fields import Fields
from protocol.requests.message import Message, read_chat_messages
from protocol.requests.sampling import Sampled, read_max_tokens, read_metadata, read_sampled


class ChatRequest(Sampled, frozen=True, kw_only=True):
    """One chat completion, asked for. `include_usage` adds a last chunk with the token counts to a stream."""

    messages: tuple[Message, ...]
    stream: bool = False
    include_usage: bool = False
    metadata: dict[str, str] = field(default_factory=dict)
    prompt_cache_key: str | None = None


def parse_chat(body: dict[str, Any], limits: Limits) -> ChatRequest:
    """Check the body of POST /v1/chat/completions. Raises ProtocolError, `param` naming the field."""
    fields = Fields(body)
    chat = ChatRequest(
        messages=read_chat_messages(fields, limits),
        stream=fields.flag("stream") or False,
        include_usage=read_include_usage(fields),
        metadata=read_metadata(fields, limits),
        prompt_cache_key=fields.text("prompt_cache_key", limits.max_label_chars),
        max_output_tokens=read_max_tokens(fields, "max_completion_tokens", "max_tokens"),
        **read_sampled(fields, limits),
    )
    _refuse_unsupported(fields)
    fields.finish()
    return chat


def read_include_usage(fields: Fields) -> bool:
    options = fields.inner("stream_options")
    if options is None:
        return False
    include = options.flag("include_usage") or False
    options.off("include_obfuscation", values=(False,))
    options.finish()
    return include


def _refuse_unsupported(fields: Fields) -> None:
    """Parameters that this server does not have, each with what means "off" or our only way."""
    fields.off("n", values=(1,))
    fields.off("logprobs", "store", values=(False,))
    fields.off("top_logprobs", values=(0,))
    fields.off("tools", "functions", values=([],))
    fields.off("tool_choice", "function_call", values=("auto", "none"))
    fields.flag("parallel_tool_calls")  # without tools, either way is no tools
    fields.off("response_format", values=({"type": "text"},))
    fields.off("modalities", values=(["text"],))
    fields.off("reasoning_effort", values=("none",))
    fields.off("verbosity", values=("medium",))
    fields.off("service_tier", values=("auto", "default"))
    fields.off("prompt_cache_options", values=({}, {"mode": "implicit"}))
    fields.off("prompt_cache_retention", values=("in_memory",))
    fields.off("audio", "prediction", "moderation", "web_search_options")
