"""The OpenAPI 3.1 document: every route over HTTP, its bodies, its answers, its errors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from protocol.admin import AdminModel, AdminModelList
from protocol.client_secret import ClientSecret
from protocol.codes import ERRORS
from protocol.dialects.chat import ChatChunk, ChatCompletion
from protocol.dialects.completions import Completion
from protocol.dialects.responses import InputTokensCounted, ResponseDeleted
from protocol.dialects.stream import StreamError
from protocol.events import ErrorAnswer, SseError
from protocol.health import Health, Readiness
from protocol.input_items import InputItemList
from protocol.models import Model, ModelDeleted, ModelList
from protocol.moderation import ModerationAnswer
from protocol.operations import OPERATIONS, TAGS
from protocol.requests import bodies
from protocol.requests.query import MAX_ITEMS, ItemPage
from protocol.response import Response
from protocol.schema import RESPONSE_EVENTS, Schema, components, reference

_READ_ERRORS: Final = (401, 403, 404, 405, 429, 500, 503)
_WRITE_ERRORS: Final = (400, 401, 403, 404, 405, 408, 409, 413, 422, 429, 500, 502, 503, 504)
_HEADERS: Final = {
    "x-request-id": {"description": "This request's id.", "schema": {"type": "string"}},
}
_RETRY_HEADERS: Final = {
    "retry-after": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}},
    "retry-after-ms": {
        "description": "The same, in milliseconds.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "x-should-retry": {"description": "`false`: a retry will not help.", "schema": {"const": "false"}},
}
_RESPONSE_ID: Final = {
    "name": "response_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
}


def openapi_document() -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": "1",
            "description": "A real-time streaming server for language models. Server-sent events carry one "
            "event each in `data`; `/asyncapi.json` describes the same events on a WebSocket.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": {
            "/v1/responses": {"post": _create_response(), "get": _connect()},
            "/v1/responses/input_tokens": {
                "post": _post("countInputTokens", bodies.InputTokensBody, InputTokensCounted)
            },
            "/v1/responses/{response_id}": {
                "parameters": [_RESPONSE_ID],
                "get": _retrieve(),
                "delete": _operation("deleteResponse", _json(ResponseDeleted), _READ_ERRORS),
            },
            "/v1/responses/{response_id}/input_items": {"parameters": [_RESPONSE_ID], "get": _list_input()},
            "/v1/responses/{response_id}/cancel": {
                "parameters": [_RESPONSE_ID],
                "post": _operation("cancelResponse", _json(Response), _READ_ERRORS),
            },
            "/v1/chat/completions": {
                "post": _post("createChatCompletion", bodies.ChatBody, ChatCompletion, ChatChunk, StreamError)
            },
            "/v1/completions": {
                "post": _post("createCompletion", bodies.CompletionBody, Completion, Completion, StreamError)
            },
            "/v1/models": {"get": _operation("listModels", _json(ModelList), _READ_ERRORS)},
            "/v1/models/{model}": {
                "parameters": [{**_RESPONSE_ID, "name": "model"}],
                "get": _operation("retrieveModel", _json(Model), _READ_ERRORS),
            },
            "/v1/load_lora_adapter": {"post": _post("loadAdapter", bodies.LoadAdapterBody, Model)},
            "/v1/unload_lora_adapter": {
                "post": _post("unloadAdapter", bodies.UnloadAdapterBody, ModelDeleted)
            },
            "/v1/admin/models": {"get": _operation("listAllModels", _json(AdminModelList), _READ_ERRORS)},
            "/v1/admin/models/{model}": {
                "parameters": [{**_RESPONSE_ID, "name": "model"}],
                "put": _accepted("loadModel", bodies.LoadModelBody),
                "delete": _accepted("unloadModel", None),
            },
            "/v1/moderations": {"post": _post("createModeration", bodies.ModerationBody, ModerationAnswer)},
            "/v1/realtime/client_secrets": {
                "post": _post("createClientSecret", bodies.ClientSecretBody, ClientSecret)
            },
            "/healthz": {"get": _open("healthz", {"200": _answer(_json(Health))})},
            "/readyz": {
                "get": _open("readyz", {"200": _answer(_json(Readiness)), "503": _answer(_json(Readiness))})
            },
            "/metrics": {
                "get": _operation("metrics", {"text/plain": {"schema": {"type": "string"}}}, _READ_ERRORS)
            },
            "/openapi.json": {"get": _operation("openapi", _document(), _READ_ERRORS)},
            "/asyncapi.json": {"get": _operation("asyncapi", _document(), _READ_ERRORS)},
        },
        "components": {
            "schemas": components(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _create_response() -> Schema:
    return _post("createResponse", bodies.CreateResponseBody, Response, *RESPONSE_EVENTS, SseError)


def _connect() -> Schema:
    operation = _operation("connect", {}, _READ_ERRORS)
    operation["responses"]["101"] = {"description": "The WebSocket is open."}
    del operation["responses"]["200"]
    return operation


def _retrieve() -> Schema:
    operation = _operation(
        "retrieveResponse", {**_json(Response), **_sse(*RESPONSE_EVENTS, SseError)}, (400, *_READ_ERRORS)
    )
    operation["parameters"] = [
        {
            "name": "stream",
            "in": "query",
            "description": "Replay the events of a live or just-ended response, then go on with it.",
            "schema": {"type": "boolean", "default": False},
        },
        {
            "name": "starting_after",
            "in": "query",
            "description": "With `stream`: replay only what follows this sequence_number.",
            "schema": {"type": "integer", "minimum": 0},
        },
    ]
    return operation


def _list_input() -> Schema:
    operation = _operation("listInputItems", _json(InputItemList), (400, *_READ_ERRORS))
    operation["parameters"] = [
        {
            "name": "order",
            "in": "query",
            "description": "The newest or the oldest first.",
            "schema": {"enum": ["asc", "desc"], "default": ItemPage().order},
        },
        {
            "name": "after",
            "in": "query",
            "description": "The id of the item after which to go on, in this order.",
            "schema": {"type": "string"},
        },
        {
            "name": "limit",
            "in": "query",
            "description": "The most items of an answer.",
            "schema": {"type": "integer", "minimum": 1, "maximum": MAX_ITEMS, "default": ItemPage().limit},
        },
    ]
    return operation


def _post(name: str, body: type, answer: type, *streamed: type) -> Schema:
    content = {**_json(answer), **(_sse(*streamed) if streamed else {})}
    operation = _operation(name, content, _WRITE_ERRORS)
    operation["requestBody"] = {"required": True, "content": _json(body)}
    return operation


def _accepted(name: str, body: type | None) -> Schema:
    """Work that goes on after the answer."""
    operation = _operation(name, _json(AdminModel), (400, *_READ_ERRORS) if body is None else _WRITE_ERRORS)
    operation["responses"]["202"] = operation["responses"].pop("200")
    if body is not None:
        operation["requestBody"] = {"required": True, "content": _json(body)}
    return operation


def _operation(name: str, content: Schema, errors: Iterable[int]) -> Schema:
    responses = {"200": _answer(content), **{str(status): _error(status) for status in errors}}
    return {**_about(name), "responses": responses}


def _open(name: str, responses: Schema) -> Schema:
    return {**_about(name), "security": [], "responses": responses}


def _about(name: str) -> Schema:
    tag, summary, description = OPERATIONS[name]
    return {"operationId": name, "tags": [tag], "summary": summary, "description": description}


def _answer(content: Schema) -> Schema:
    return {"description": "The answer.", "headers": _HEADERS, "content": content}


def _error(status: int) -> Schema:
    codes = sorted(code for code, info in ERRORS.items() if info.status == status)
    return {
        "description": "Error codes: " + ", ".join(codes) + ".",
        "headers": {**_HEADERS, **_RETRY_HEADERS},
        "content": _json(ErrorAnswer),
    }


def _json(struct: type) -> Schema:
    return {"application/json": {"schema": reference(struct)}}


def _sse(*structs: type) -> Schema:
    return {"text/event-stream": {"schema": {"anyOf": [reference(struct) for struct in structs]}}}


def _document() -> Schema:
    return {"application/json": {"schema": {"type": "object"}}}
