"""Checks anything that was sent against the published schemas; for the tests of every package."""

from __future__ import annotations

import functools
import json
from typing import Any

from jsonschema import Draft202012Validator

from protocol.asyncapi import asyncapi_document
from protocol.openapi import openapi_document


@functools.cache
def _documents() -> tuple[dict[str, Any], dict[str, Any]]:
    return openapi_document(), asyncapi_document()


@functools.cache
def _validator(name: str) -> Draft202012Validator:
    openapi, _ = _documents()
    assert name in openapi["components"]["schemas"], name
    root = {"$ref": f"#/components/schemas/{name}", "components": openapi["components"]}
    return Draft202012Validator(root)


@functools.cache
def _event_validators() -> dict[str, Draft202012Validator]:
    """By event type, the payload schemas of the messages that the server sends on a socket."""
    _, asyncapi = _documents()
    messages = asyncapi["components"]["messages"]
    sent = [message["$ref"].rsplit("/", 1)[1] for message in asyncapi["operations"]["send"]["messages"]]
    return {
        messages[name]["name"]: Draft202012Validator(
            {**messages[name]["payload"], "components": asyncapi["components"]}
        )
        for name in sent
    }


def _parsed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, (bytes, str)) else value


def validate(value: Any, name: str) -> None:
    """Check an answer or a body, parsed or as JSON, against the OpenAPI schema `name`."""
    _validator(name).validate(_parsed(value))


def validate_event(event: Any) -> None:
    """Check an event from the socket, parsed or as JSON, against the AsyncAPI message of its type."""
    event = _parsed(event)
    _event_validators()[event["type"]].validate(event)


def validate_sse_event(event: Any) -> None:
    """Check the data of a server-sent event of /v1/responses; its error is flat, unlike the socket's."""
    event = _parsed(event)
    if event["type"] == "error":
        validate(event, "SseError")
    else:
        validate_event(event)
