"""Messages as clients send them, in both shapes, made one: a role and a text. Calls and what they gave are messages
too."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from protocol.codes import ProtocolError
from protocol.limits import Limits
from protocol.requests.fields import Fields, Off, invalid, missing, nested, unsupported

SaidRole: TypeAlias = Literal["user", "assistant", "system"]
Role: TypeAlias = SaidRole | Literal["tool"]

_ROLES: Final[dict[str, Role]] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",  # chat templates know one word for it
}
_TEXT_PARTS: Final = frozenset({"input_text", "output_text", "text"})
_OTHER_PARTS: Final = frozenset(
    {"input_image", "input_file", "input_audio", "image_url", "file", "summary_text", "reasoning_text"}
)

FUNCTION_NAME: Final = "[A-Za-z0-9_-]{1,64}"
_FUNCTION_NAME: Final = re.compile(FUNCTION_NAME)
ITEM_OFF: Final[Off] = {"phase": ()}
PART_OFF: Final[Off] = {"prompt_cache_breakpoint": ()}
CHAT_MESSAGE_OFF: Final[Off] = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "name": (),
}


class Message(Struct, frozen=True):
    """One message of a conversation; text parts are joined as they stand.

    An assistant's with a `call` is a call of that function, its content the arguments; a tool's is what the call of
    `call_id` gave.
    """

    role: Role
    content: str
    call: str = ""
    call_id: str = ""


def read_input(fields: Fields, limits: Limits) -> tuple[Message, ...]:
    """`input` of a response: a string, or items: messages, calls of functions and what these gave."""
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
    value: list[Any], path: str, limits: Limits, read: Callable[[Fields, Limits], tuple[Message, ...]]
) -> tuple[Message, ...]:
    if not 1 <= len(value) <= limits.max_input_items:
        raise invalid(path, f"an array of 1 to {limits.max_input_items} items")
    read_each = (read(nested(item, f"{path}[{index}]"), limits) for index, item in enumerate(value))
    return tuple(message for read_one in read_each for message in read_one)


def _read_item(item: Fields, limits: Limits) -> tuple[Message]:
    kind = item.take("type")
    if kind is None and item.peek("role") is None:
        raise missing(item.path("role"))
    match kind:
        case None | "message":
            role = _read_role(item)
            message = Message(role, _read_content(item, role, limits))
        case "function_call":
            call_id = _read_call_id(item, "call_id", limits)
            message = Message(
                "assistant", _read_arguments(item), call=read_function_name(item), call_id=call_id
            )
        case "function_call_output":
            call_id = _read_call_id(item, "call_id", limits)
            message = Message("tool", _read_content(item, "tool", limits, "output"), call_id=call_id)
        case str():
            raise unsupported(
                item.path("type"), "names an item other than a message or a function's call or output"
            )
        case _:
            raise invalid(item.path("type"), "'message', 'function_call' or 'function_call_output'")
    # What an output item carries when it is fed back; it adds nothing to the conversation.
    item.label("id", limits.max_label_chars)
    item.choice("status", "in_progress", "completed", "incomplete")
    item.off(ITEM_OFF)
    item.finish()
    return (message,)


def _read_chat_message(message: Fields, limits: Limits) -> tuple[Message, ...]:
    if message.peek("role") == "tool":
        message.take("role")
        call_id = _read_call_id(message, "tool_call_id", limits)
        read: tuple[Message, ...] = (
            Message("tool", _read_content(message, "tool", limits), call_id=call_id),
        )
    else:
        read = _read_said(message, limits)
    message.off(CHAT_MESSAGE_OFF)
    message.finish()
    return read


def _read_said(message: Fields, limits: Limits) -> tuple[Message, ...]:
    """A message that is no tool's; an assistant's may have calls, with content or without."""
    role = _read_role(message, others=", 'developer' or 'tool'")
    calls = _read_calls(message, limits) if role == "assistant" else ()
    refusal = message.text("refusal") if role == "assistant" else None
    if message.peek("content") is None and (refusal is not None or calls):
        content = refusal or ""
        message.take("content")
    else:
        content = _read_content(message, role, limits)
    if role != "assistant":
        message.off({"tool_calls": ([],)})
    return (*([Message(role, content)] if content or not calls else []), *calls)


def _read_calls(message: Fields, limits: Limits) -> tuple[Message, ...]:
    value = message.take("tool_calls")
    path = message.path("tool_calls")
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > limits.max_parts:
        raise invalid(path, f"an array of at most {limits.max_parts} calls")
    return tuple(_read_call(nested(call, f"{path}[{index}]"), limits) for index, call in enumerate(value))


def _read_call(call: Fields, limits: Limits) -> Message:
    if call.required("type") != "function":
        raise invalid(call.path("type"), "'function'")
    function = call.inner("function")
    if function is None:
        raise missing(call.path("function"))
    call_id = _read_call_id(call, "id", limits)
    read = Message("assistant", _read_arguments(function), call=read_function_name(function), call_id=call_id)
    function.finish()
    call.finish()
    return read


def _read_call_id(fields: Fields, name: str, limits: Limits) -> str:
    call_id = fields.label(name, limits.max_label_chars)
    if call_id is None:
        raise missing(fields.path(name))
    return call_id


def read_function_name(fields: Fields) -> str:
    name = fields.required("name")
    if not isinstance(name, str) or not _FUNCTION_NAME.fullmatch(name):
        raise invalid(fields.path("name"), "1 to 64 characters of A-Z, a-z, 0-9, '_' and '-'")
    return name


def _read_arguments(fields: Fields) -> str:
    arguments = fields.text("arguments")
    if arguments is None:
        raise missing(fields.path("arguments"))
    return arguments


def _read_role(fields: Fields, others: str = " or 'developer'") -> Role:
    role = fields.required("role")
    if isinstance(role, str) and role in _ROLES:
        return _ROLES[role]
    if role in ("tool", "function"):
        raise unsupported(
            fields.path("role"), "names a role that is not there: send a function's call and output"
        )
    raise invalid(fields.path("role"), f"'user', 'assistant', 'system'{others}")


def _read_content(fields: Fields, role: Role, limits: Limits, name: str = "content") -> str:
    value = fields.required(name)
    path = fields.path(name)
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
