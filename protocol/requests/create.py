"""`response.create` and `POST /v1/responses`, and the counting of their input's tokens."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct, field

from protocol.limits import Limits
from protocol.requests.fields import Fields, Off, invalid, lane_name, unsupported
from protocol.requests.format import read_text
from protocol.requests.message import Message, read_input
from protocol.requests.sampling import Sampled, read_metadata, read_sampled, read_top_logprobs
from protocol.requests.tools import Offer, check_offer, read_tools

LOGPROBS: Final = "message.output_text.logprobs"
_REASONING_OFF: Final[Off] = {
    "reasoning": {
        "effort": ("none",),
        "context": ("auto",),
        "mode": ("standard",),
        "summary": (),
        "generate_summary": (),
    },
    "conversation": (),
}
CREATE_OFF: Final[Off] = {
    **_REASONING_OFF,
    "access_programs": ({},),
    "background": (False,),
    "background_options": ({},),
    "context_management": ([],),
    "draft": (),
    "image": ({}, {"context_compression": "auto"}, {"context_compression": "disabled"}),
    "max_tool_calls": (),
    "moderation": (),
    "prompt": (),
    "prompt_cache_options": ({}, {"mode": "implicit"}),
    "prompt_cache_retention": ("in_memory",),
    "stream_options": {"include_obfuscation": (False,)},
}
INPUT_TOKENS_OFF: Final[Off] = {**_REASONING_OFF, "personality": ()}


class CreateResponse(Sampled, frozen=True, kw_only=True):
    """One reply, asked for. `stream_id` (None: the default lane) and `event_id` come from a socket only."""

    messages: tuple[Message, ...]
    instructions: str | None = None
    offer: Offer = Offer()
    previous_response_id: str | None = None
    stream: bool = False
    store: bool = True
    generate: bool = True
    stream_id: str | None = None
    event_id: str | None = None
    truncation: Literal["auto", "disabled"] = "disabled"
    metadata: dict[str, str] = field(default_factory=dict)
    prompt_cache_key: str | None = None


class InputTokens(Struct, frozen=True, kw_only=True):
    """How many tokens would this input be?"""

    model: str | None = None
    messages: tuple[Message, ...]
    instructions: str | None = None
    offer: Offer = Offer()
    previous_response_id: str | None = None
    truncation: Literal["auto", "disabled"] = "disabled"


def parse_create(body: dict[str, Any], limits: Limits, *, socket: bool) -> CreateResponse:
    """Check the body of POST /v1/responses, or with `socket` of a `response.create` without its `type`.

    Raises ProtocolError, `param` naming the field.
    """
    fields = Fields(body)
    offer = read_tools(fields, limits)
    sampled = read_sampled(
        fields,
        limits,
        "max_output_tokens",
        format=read_text(fields, limits),
        logprobs=read_top_logprobs(fields, f"'{LOGPROBS}' in 'include'", _read_include(fields)),
    )
    check_offer(offer, sampled)
    create = CreateResponse(
        messages=read_input(fields, limits),
        instructions=fields.text("instructions"),
        offer=offer,
        previous_response_id=fields.label("previous_response_id", limits.max_label_chars),
        stream=_read_stream(fields, socket),
        store=_default_true(fields.flag("store")),
        generate=_default_true(fields.flag("generate")),
        stream_id=_read_stream_id(fields) if socket else None,
        event_id=fields.label("event_id", limits.max_label_chars) if socket else None,
        truncation=fields.choice("truncation", "auto", "disabled") or "disabled",
        metadata=read_metadata(fields, limits),
        prompt_cache_key=fields.text("prompt_cache_key", limits.max_label_chars),
        **sampled,
    )
    _refuse_conversation(fields)
    fields.off(CREATE_OFF)
    fields.finish()
    return create


def parse_input_tokens(body: dict[str, Any], limits: Limits) -> InputTokens:
    """Check the body of POST /v1/responses/input_tokens."""
    fields = Fields(body)
    count = InputTokens(
        model=fields.text("model", limits.max_label_chars),
        messages=read_input(fields, limits),
        instructions=fields.text("instructions"),
        offer=read_tools(fields, limits),
        previous_response_id=fields.label("previous_response_id", limits.max_label_chars),
        truncation=fields.choice("truncation", "auto", "disabled") or "disabled",
    )
    read_text(fields, limits)  # a format takes no tokens
    _refuse_conversation(fields)
    fields.off(INPUT_TOKENS_OFF)
    fields.finish()
    return count


def _refuse_conversation(fields: Fields) -> None:
    """Of all that is off the one that much was written for, and with another way to the same."""
    if fields.peek("conversation") is not None:
        raise unsupported("conversation", "is not supported: continue a response by 'previous_response_id'")


def _read_include(fields: Fields) -> bool:
    """Whether log probabilities are asked for; nothing else can be."""
    value = fields.take("include")
    path = fields.path("include")
    if value is None:
        return False
    if not isinstance(value, list) or any(not isinstance(name, str) for name in value):
        raise invalid(path, "an array of strings")
    for index, name in enumerate(value):
        if name != LOGPROBS:
            raise unsupported(f"{path}[{index}]", "names something that is not there")
    return bool(value)


def _default_true(value: bool | None) -> bool:
    return True if value is None else value


def _read_stream(fields: Fields, socket: bool) -> bool:
    """A socket always streams: asking for it changes nothing, asking for the opposite cannot be met."""
    stream = fields.flag("stream")
    if not socket:
        return stream or False
    if stream is False:
        raise unsupported(fields.path("stream"), "cannot be false on a WebSocket")
    return True


def _read_stream_id(fields: Fields) -> str | None:
    value = fields.take("stream_id")
    if value is None:
        return None
    name = lane_name(value)
    if name is None:
        raise invalid(fields.path("stream_id"), "1 to 256 characters of A-Z, a-z, 0-9, '_', '.' and '-'")
    return name
