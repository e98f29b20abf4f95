"""The AsyncAPI 3.0 document: the WebSocket, from the server's side."""

from __future__ import annotations

from typing import Any, Final

from protocol.events import ErrorEvent
from protocol.requests import bodies
from protocol.schema import REF, RESPONSE_EVENTS, Schema, components

_RECEIVED: Final = (bodies.ResponseCreateEvent, bodies.ResponseCancelEvent)
_SENT: Final = (*RESPONSE_EVENTS, ErrorEvent)
_CHANNEL: Final = "#/channels/responses"


def asyncapi_document() -> dict[str, Any]:
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sluice",
            "version": "1",
            "description": "Responses over a WebSocket: events as JSON text, one a frame. A refused "
            "handshake is an HTTP answer, which /openapi.json describes.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "sluice": {
                "host": "{host}",
                "variables": {"host": {"default": "127.0.0.1:8000", "description": "Where it listens."}},
                "protocol": "ws",
                "security": [{"$ref": "#/components/securitySchemes/key"}],
            }
        },
        "channels": {
            "responses": {
                "address": "/v1/responses",
                "description": "A lane, named by `stream_id`, runs turns one by one; lanes run in parallel.",
                "messages": {struct.__name__: _message_reference(struct) for struct in (*_RECEIVED, *_SENT)},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            "receive": _operation("receive", _RECEIVED),
            "send": _operation("send", _SENT),
        },
        "components": {
            "schemas": {name: _without_discriminators(schema) for name, schema in components().items()},
            "messages": {struct.__name__: _message(struct) for struct in (*_RECEIVED, *_SENT)},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(action: str, structs: tuple[Any, ...]) -> Schema:
    return {
        "action": action,
        "channel": {"$ref": _CHANNEL},
        "messages": [{"$ref": f"{_CHANNEL}/messages/{struct.__name__}"} for struct in structs],
    }


def _message_reference(struct: type) -> Schema:
    return {"$ref": f"#/components/messages/{struct.__name__}"}


def _message(struct: Any) -> Schema:
    return {
        "name": struct.__struct_config__.tag,
        "contentType": "application/json",
        "payload": {"$ref": REF.format(name=struct.__name__)},
    }


def _without_discriminators(schema: Any) -> Any:
    """OpenAPI's `discriminator` object means nothing here; the tag in each alternative says the same."""
    if isinstance(schema, dict):
        return {
            name: _without_discriminators(part) for name, part in schema.items() if name != "discriminator"
        }
    if isinstance(schema, list):
        return [_without_discriminators(part) for part in schema]
    return schema
