"""Messages as clients send them, in both shapes, made one: a role and a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from protocol.codes import ProtocolError
from protocol.limits import Limits
from protocol.requests.fields import Fields, Off, invalid, missing, nested, unsupported

Role: TypeAlias = Literal["user", "assistant", "system"]

_ROLES: Final[dict[str, Role]] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",  # chat templates know one word for it
}
_TOOL_ROLES: Final = frozenset({"tool", "function"})
_TEXT_PARTS: Final = frozenset({"input_text", "output_text", "text"})
_OTHER_PARTS: Final = frozenset(
    {"input_image", "input_file", "input_audio", "image_url", "file", "summary_text", "reasoning_text"}
)

ITEM_OFF: Final[Off] = {"phase": ()}
PART_OFF: Final[Off] = {"prompt_cache_breakpoint": ()}
CHAT_MESSAGE_OFF: Final[Off] = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "name": (),
    "tool_calls": ([],),
}


class Message(Struct, frozen=True):
    """One message of a conversation; text parts are joined as they stand."""

    role: Role
    content: str


def read_input(fields: Fields, limits: Limits) -> tuple[Message, ...]:
    """`input` of a response: a string, or items of which only messages are supported."""
    value = fields.required("input")
    path = fields.path("input")
    if isinstance(value, str):
        if not value:
            raise invalid(path, "a string that is not empty")
        return (Message("user", value),)
    if not isinstance(value, list):
        raise invalid(path, "a string or an array of items")
    return _each(value, path, limits, _read_item)


def read_chat_messages(fields: Fields, limits: Limits) -> tuple[Message, ...]:
    """`messages` of a chat completion."""
    value = fields.required("messages")
    path = fields.path("messages")
    if not isinstance(value, list):
        raise invalid(path, "an array of messages")
    return _each(value, path, limits, _read_chat_message)


def _each(
    value: list[Any], path: str, limits: Limits, read: Callable[[Fields, Limits], Message]
) -> tuple[Message, ...]:
    if not 1 <= len(value) <= limits.max_input_items:
        raise invalid(path, f"an array of 1 to {limits.max_input_items} items")
    return tuple(read(nested(item, f"{path}[{index}]"), limits) for index, item in enumerate(value))


def _read_item(item: Fields, limits: Limits) -> Message:
    kind = item.take("type")
    if kind is None and item.peek("role") is None:
        raise missing(item.path("role"))
    if kind not in (None, "message"):
        if not isinstance(kind, str):
            raise invalid(item.path("type"), "'message'")
        raise unsupported(item.path("type"), "names an item other than a message, which is not supported")
    role = _read_role(item)
    content = _read_content(item, role, limits)
    # What an output item carries when it is fed back; it adds nothing to the conversation.
    item.label("id", limits.max_label_chars)
    item.choice("status", "in_progress", "completed", "incomplete")
    item.off(ITEM_OFF)
    item.finish()
    return Message(role, content)


def _read_chat_message(message: Fields, limits: Limits) -> Message:
    role = _read_role(message)
    refusal = message.text("refusal") if role == "assistant" else None
    if refusal is not None and message.peek("content") is None:
        content = refusal
        message.take("content")
    else:
        content = _read_content(message, role, limits)
    message.off(CHAT_MESSAGE_OFF)
    message.finish()
    return Message(role, content)


def _read_role(fields: Fields) -> Role:
    role = fields.required("role")
    if isinstance(role, str):
        if role in _ROLES:
            return _ROLES[role]
        if role in _TOOL_ROLES:
            raise unsupported(fields.path("role"), "names a tool's message, which is not supported")
    raise invalid(fields.path("role"), "'user', 'assistant', 'system' or 'developer'")


def _read_content(fields: Fields, role: Role, limits: Limits) -> str:
    value = fields.required("content")
    path = fields.path("content")
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise invalid(path, "a string or an array of parts")
    # A reply that ended before its first word has no parts, and may be sent back.
    low = 0 if role == "assistant" else 1
    if not low <= len(value) <= limits.max_parts:
        raise invalid(path, f"an array of {low} to {limits.max_parts} parts")
    parts = (nested(part, f"{path}[{index}]") for index, part in enumerate(value))
    return "".join(_read_part(part, role) for part in parts)


def _read_part(part: Fields, role: Role) -> str:
    kind = part.required("type")
    if kind == "refusal" and role == "assistant":
        field = "refusal"
    elif isinstance(kind, str) and kind in _TEXT_PARTS:
        field = "text"
    else:
        raise _no_such_part(part, kind)
    text = part.text(field)
    if text is None:
        raise missing(part.path(field))
    for marks in ("annotations", "logprobs"):
        if not isinstance(part.take(marks), list | None):
            raise invalid(part.path(marks), "an array")
    part.off(PART_OFF)
    part.finish()
    return text


def _no_such_part(part: Fields, kind: object) -> ProtocolError:
    if isinstance(kind, str) and kind in _OTHER_PARTS:
        return unsupported(part.path("type"), "names content other than text, which is not supported")
    return invalid(part.path("type"), "'input_text', 'output_text' or 'text'")
