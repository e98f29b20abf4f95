"""JSON schemas (2020-12) of everything on the wire, made from the structs that are parsed and encoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, get_args

import msgspec

from protocol.admin import AdminModel, AdminModelList
from protocol.client_secret import ClientSecret
from protocol.dialects.chat import ChatChunk, ChatCompletion
from protocol.dialects.completions import Completion
from protocol.dialects.responses import InputTokensCounted, ResponseDeleted
from protocol.dialects.stream import StreamError
from protocol.events import ErrorAnswer, ErrorEvent, ResponseEvent, SseError
from protocol.health import Health, Readiness
from protocol.input_items import InputItemList
from protocol.models import Model, ModelDeleted, ModelList
from protocol.moderation import ModerationAnswer
from protocol.requests import bodies, format_bodies, message_bodies
from protocol.requests.chat import CHAT_OFF, STREAM_OPTIONS_OFF
from protocol.requests.completion import COMPLETION_OFF
from protocol.requests.create import CREATE_OFF, INPUT_TOKENS_OFF
from protocol.requests.fields import Off
from protocol.requests.format import STRUCTURED_OFF, TEXT_OFF
from protocol.requests.message import CHAT_MESSAGE_OFF, ITEM_OFF, PART_OFF
from protocol.response import Response

Schema: TypeAlias = dict[str, Any]

RESPONSE_EVENTS: Final = get_args(ResponseEvent)
_SENT: Final = (
    *RESPONSE_EVENTS,
    ErrorEvent,
    SseError,
    ErrorAnswer,
    Response,
    ResponseDeleted,
    InputTokensCounted,
    InputItemList,
    ChatCompletion,
    ChatChunk,
    Completion,
    StreamError,
    Model,
    ModelList,
    ModelDeleted,
    AdminModel,
    AdminModelList,
    ModerationAnswer,
    ClientSecret,
    Health,
    Readiness,
)
_RECEIVED: Final[dict[type, Off]] = {
    bodies.CreateResponseBody: CREATE_OFF,
    bodies.ResponseCreateEvent: CREATE_OFF,
    bodies.ResponseCancelEvent: {},
    bodies.InputTokensBody: INPUT_TOKENS_OFF,
    bodies.ChatBody: CHAT_OFF,
    bodies.CompletionBody: COMPLETION_OFF,
    bodies.ModerationBody: {},
    bodies.ClientSecretBody: {},
    bodies.LoadAdapterBody: {},
    bodies.UnloadAdapterBody: {},
    bodies.LoadModelBody: {},
    # Within the ones above; named for what is refused in them.
    format_bodies.TextBody: TEXT_OFF,
    format_bodies.StructuredOutputsBody: STRUCTURED_OFF,
    bodies.StreamOptionsBody: STREAM_OPTIONS_OFF,
    message_bodies.InputMessage: ITEM_OFF,
    message_bodies.FunctionCallInput: ITEM_OFF,
    message_bodies.FunctionCallOutputInput: ITEM_OFF,
    message_bodies.ChatInputMessage: CHAT_MESSAGE_OFF,
    message_bodies.InputTextPart: PART_OFF,
    message_bodies.OutputTextPart: PART_OFF,
    message_bodies.TextPart: PART_OFF,
    message_bodies.RefusalPart: PART_OFF,
}
_ITEMS: Final = (
    message_bodies.InputMessage,
    message_bodies.FunctionCallInput,
    message_bodies.FunctionCallOutputInput,
)
REF: Final = "#/components/schemas/{name}"


def reference(struct: type) -> Schema:
    return {"$ref": REF.format(name=struct.__name__)}


def components() -> dict[str, Schema]:
    """All schemas by name; they refer to each other as `REF` says."""
    _, sent = msgspec.json.schema_components(_SENT, ref_template=REF)
    _, received = msgspec.json.schema_components(_RECEIVED, ref_template=REF)
    for schema in sent.values():
        _require_all(schema)
    for struct, off in _RECEIVED.items():
        received[struct.__name__]["properties"].update(_off_properties(off))
    for schema in received.values():
        _drop_null_defaults(schema)
        _admit_calls(schema.get("properties", {}).get("input", {}))
    return {**sent, **received}


def _require_all(schema: Schema) -> None:
    """Fields with a default are written all the same: only unset ones are left out."""
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        if "default" in field:
            del field["default"]
            required.add(name)
    schema["required"] = [name for name in schema.get("properties", {}) if name in required]


def _drop_null_defaults(schema: Schema) -> None:
    """In a body null says no more than leaving the field out."""
    for field in schema.get("properties", {}).values():
        if field.get("default", ...) is None:
            del field["default"]


def _admit_calls(input: Schema) -> None:
    """Where messages are, calls and what they gave may be: their kind tells, which a message may leave out, so that
    msgspec has no union for them."""
    for way in input.get("anyOf", ()):
        if way.get("items") == reference(message_bodies.InputMessage):
            way["items"] = {"anyOf": [reference(item) for item in _ITEMS]}


def _off_properties(off: Off) -> dict[str, Schema]:
    return {name: _off_property(allowed) for name, allowed in off.items()}


def _off_property(allowed: tuple[object, ...] | Off) -> Schema:
    if isinstance(allowed, Mapping):
        inner = {"type": "object", "properties": _off_properties(allowed), "additionalProperties": False}
        return {"anyOf": [inner, {"type": "null"}]}
    return {"description": "Not supported: any other value is refused.", "enum": [None, *allowed]}
