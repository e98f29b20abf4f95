"""The published documents: valid, complete, and of one mind with the parsers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError
from openapi_spec_validator import validate as validate_openapi

from protocol.asyncapi import asyncapi_document
from protocol.codec import encode
from protocol.codes import ERRORS, ProtocolError
from protocol.dialects.responses import type_of
from protocol.limits import Limits
from protocol.openapi import openapi_document
from protocol.operations import OPERATIONS, TAGS
from protocol.requests.adapter import parse_load_adapter, parse_unload_adapter
from protocol.requests.chat import parse_chat
from protocol.requests.client_secret import parse_client_secret
from protocol.requests.completion import parse_completion
from protocol.requests.create import parse_create, parse_input_tokens
from protocol.requests.load_model import parse_load_model
from protocol.requests.moderation import parse_moderations
from tests.protocol.requests.test_chat import OFF as CHAT_OFF
from tests.protocol.requests.test_create import NUMBERS, OFF, ON
from tests.protocol.samples import each_event
from tests.protocol.validation import validate

LIMITS = Limits()
USER = {"role": "user", "content": "hi"}
ROUTES = {
    "/v1/responses": {"get", "post"},
    "/v1/responses/input_tokens": {"post"},
    "/v1/responses/{response_id}": {"get", "delete"},
    "/v1/responses/{response_id}/input_items": {"get"},
    "/v1/responses/{response_id}/cancel": {"post"},
    "/v1/chat/completions": {"post"},
    "/v1/completions": {"post"},
    "/v1/models": {"get"},
    "/v1/models/{model}": {"get"},
    "/v1/load_lora_adapter": {"post"},
    "/v1/unload_lora_adapter": {"post"},
    "/v1/admin/models": {"get"},
    "/v1/admin/models/{model}": {"put", "delete"},
    "/v1/moderations": {"post"},
    "/v1/realtime/client_secrets": {"post"},
    "/healthz": {"get"},
    "/readyz": {"get"},
    "/metrics": {"get"},
    "/openapi.json": {"get"},
    "/asyncapi.json": {"get"},
}
PARSERS: dict[str, tuple[Callable[[dict[str, Any]], Any], dict[str, Any]]] = {
    "CreateResponseBody": (lambda body: parse_create(body, LIMITS, socket=False), {"input": "hi"}),
    "InputTokensBody": (lambda body: parse_input_tokens(body, LIMITS), {"input": "hi"}),
    "ChatBody": (lambda body: parse_chat(body, LIMITS), {"messages": [USER]}),
    "CompletionBody": (lambda body: parse_completion(body, LIMITS), {"prompt": "hi"}),
    "ModerationBody": (lambda body: parse_moderations(body, LIMITS), {"input": "hi"}),
    "ClientSecretBody": (parse_client_secret, {}),
    "LoadAdapterBody": (lambda body: parse_load_adapter(body, LIMITS), {"lora_name": "a", "lora_path": "/a"}),
    "UnloadAdapterBody": (lambda body: parse_unload_adapter(body, LIMITS), {"lora_name": "a"}),
    "LoadModelBody": (parse_load_model, {"source": "scripted"}),
}


def accepts(name: str, body: dict[str, Any]) -> bool:
    try:
        validate(body, name)
    except ValidationError:
        return False
    return True


def parses(name: str, body: dict[str, Any]) -> bool:
    try:
        PARSERS[name][0](body)
    except ProtocolError:
        return False
    return True


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for part in node.values():
            yield from references(part)
    elif isinstance(node, list):
        for part in node:
            yield from references(part)


def resolve(document: Any, reference: str) -> Any:
    for step in reference.removeprefix("#/").split("/"):
        document = document[step]
    return document


def test_openapi_is_valid_and_has_every_route() -> None:
    document = json.loads(json.dumps(openapi_document()))
    validate_openapi(document)
    methods = {"get", "post", "put", "delete"}
    assert {path: methods & operations.keys() for path, operations in document["paths"].items()} == ROUTES


def test_every_operation_says_what_it_is_for() -> None:
    document = openapi_document()
    operations = [
        operation
        for path in document["paths"].values()
        for method, operation in path.items()
        if method != "parameters"
    ]
    assert sorted(operation["operationId"] for operation in operations) == sorted(OPERATIONS)
    assert {tag for operation in operations for tag in operation["tags"]} == set(TAGS)
    assert [tag["name"] for tag in document["tags"]] == list(TAGS)
    for operation in operations:
        assert (len(operation["tags"]), operation["summary"][-1] != ".") == (1, True)
        assert operation["description"].endswith(".")


def test_every_schema_is_a_schema_and_says_something() -> None:
    for name, schema in openapi_document()["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert schema["properties"], name


def test_every_error_code_stands_in_the_document() -> None:
    text = json.dumps(openapi_document())
    elsewhere = {"unsupported_media_type"}  # no route asks for a media type
    assert {code for code in ERRORS if code not in text} <= elsewhere


@pytest.mark.parametrize("document", [openapi_document(), asyncapi_document()], ids=["openapi", "asyncapi"])
def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = list(references(document))
    assert found
    for reference in found:
        assert resolve(document, reference)


def test_asyncapi_has_every_event_in_its_direction() -> None:
    document = asyncapi_document()
    assert document["asyncapi"] == "3.0.0"

    def names(operation: str) -> set[str]:
        messages = document["operations"][operation]["messages"]
        return {resolve(document, resolve(document, m["$ref"])["$ref"])["name"] for m in messages}

    assert names("receive") == {"response.create", "response.cancel"}
    assert names("send") == {type_of(encode(event)) for event in each_event()} | {"error"}


def test_a_missing_field_of_an_answer_is_noticed() -> None:
    event = json.loads('{"type":"response.output_text.delta","sequence_number":1}')
    with pytest.raises(ValidationError):
        validate(event, "OutputTextDelta")


def test_a_socket_create_is_a_create_with_a_type_and_a_lane() -> None:
    event = {"type": "response.create", "input": "hi", "stream_id": "a", "event_id": "e", "stream": True}
    assert accepts("ResponseCreateEvent", event)
    for wrong in ({"stream_id": "a b"}, {"stream": False}, {"event_id": ""}, {"type": "response.steer"}):
        assert not accepts("ResponseCreateEvent", {**event, **wrong})
    assert not accepts("CreateResponseBody", {"input": "hi", "stream_id": "a"})
    assert accepts("ResponseCancelEvent", {"type": "response.cancel", "response_id": "r"})
    assert not accepts("ResponseCancelEvent", {"type": "response.cancel"})


def agreed_bodies() -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Bodies with whether they are good, on which parser and schema must agree."""
    for name, (_, minimal) in PARSERS.items():
        yield name, minimal, True
        yield name, {**minimal, "surprise": 1}, False
        for field in minimal:
            yield name, {key: value for key, value in minimal.items() if key != field}, False
    create = PARSERS["CreateResponseBody"][1]
    for field, values in OFF.items():
        for value in [None, *values]:
            yield "CreateResponseBody", {**create, field: value}, True
    for field, value, _ in ON:
        yield "CreateResponseBody", {**create, field: value}, False
    for field, good, bad in NUMBERS:
        for value in good:
            yield "CreateResponseBody", {**create, field: value}, True
        for value in bad:
            # to a schema 1.0 is an integer, and a 64-bit bound would not survive most readers' JSON
            if (value != 1.0 and field != "seed") or isinstance(value, (bool, str)):
                yield "CreateResponseBody", {**create, field: value}, False
    chat = PARSERS["ChatBody"][1]
    for field, values in CHAT_OFF.items():
        for value in values:
            yield "ChatBody", {**chat, field: value}, True
    part = {"type": "input_text", "text": "a", "annotations": []}
    reply = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": []}
    for items, good in [
        ([USER], True),
        ([{"role": "developer", "content": [part]}], True),
        ([reply, {**USER, "phase": None}], True),
        ([{"role": "user", "content": [{**part, "type": "input_image"}]}], False),
        ([{"role": "tool", "content": "x"}], False),
        ([{"type": "function_call"}], False),
        ([{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "id": "fc_1"}], True),
        ([{"type": "function_call", "call_id": "c", "name": "a b", "arguments": "{}"}], False),
        ([{"type": "function_call_output", "call_id": "c", "output": "2", "status": "completed"}], True),
        ([{"type": "function_call_output", "call_id": "c", "output": [part]}], True),
        ([{"type": "function_call_output", "call_id": "c", "output": 2}], False),
        ([{**USER, "phase": "commentary"}], False),
        ([{**USER, "name": "Ann"}], False),
        ([], False),
        ("", False),
    ]:
        yield "CreateResponseBody", {"input": items}, good
        yield "InputTokensBody", {"input": items}, good
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
    named = {"type": "function", "name": "f"}
    for tools, choice, good in [
        ([], "none", True),
        ([{"type": "function", **function}], "required", True),
        ([{"type": "function", **function}], named, True),
        ([{"type": "function", "name": "f"}], {"type": "custom", "name": "f"}, False),
        ([{"type": "function", "name": "a b"}], "auto", False),
        ([{"type": "function", "name": "f", "surprise": 1}], "auto", False),
        ([{"type": "function", "function": function}], "auto", False),
        ([{"type": "web_search"}], "auto", False),
    ]:
        yield "CreateResponseBody", {"input": "hi", "tools": tools, "tool_choice": choice}, good
        yield "InputTokensBody", {"input": "hi", "tools": tools, "tool_choice": choice}, good
    chat_tool = {"type": "function", "function": function}
    chat_named = {"type": "function", "function": {"name": "f"}}
    yield "ChatBody", {**chat, "tools": [chat_tool], "tool_choice": chat_named}, True
    yield "ChatBody", {**chat, "tools": [chat_tool], "tool_choice": named}, False
    yield "ChatBody", {**chat, "tools": [{"type": "function", **function}]}, False
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    yield "ChatBody", {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}, True
    yield "ChatBody", {"messages": [{"role": "tool", "tool_call_id": "c", "content": "2"}]}, True
    schema = {"name": "r", "schema": {"type": "object"}, "strict": None}
    for format, good in [
        (None, True),
        ({"type": "text"}, True),
        ({"type": "json_object"}, True),
        ({"type": "json_schema", **schema}, True),
        ({"type": "json_schema", "name": "r"}, False),
        ({"type": "json_schema", **schema, "name": "a b"}, False),
        ({"type": "grammar"}, False),
        ("text", False),
    ]:
        yield "CreateResponseBody", {"input": "hi", "text": {"format": format}}, good
        yield "InputTokensBody", {"input": "hi", "text": {"format": format}}, good
    yield "ChatBody", {**chat, "response_format": {"type": "json_schema", "json_schema": schema}}, True
    yield "ChatBody", {**chat, "response_format": {"type": "json_schema", **schema}}, False
    for structured, good in [
        ({}, True),
        ({"regex": "a"}, True),
        ({"regex": ""}, False),
        ({"json": {}}, False),
    ]:
        yield "CompletionBody", {"prompt": "a", "structured_outputs": structured}, good
    yield "ChatBody", {"messages": [{**reply, "type": None}]}, False
    yield "ChatBody", {"messages": [{"role": "assistant", "content": None, "refusal": "No."}]}, True
    yield "ChatBody", {"messages": [{**USER, "name": "Ann"}]}, False
    yield "CompletionBody", {"prompt": ["a"]}, True
    yield "CompletionBody", {"prompt": ["a", "b"]}, False
    yield "CompletionBody", {"prompt": [1]}, False
    for top, good in [(0, True), (5, True), (6, False), (True, False)]:
        yield "CompletionBody", {"prompt": "a", "logprobs": top}, good
    for include, good in [([], True), (["message.output_text.logprobs"], True), (["x"], False), ("x", False)]:
        yield "CreateResponseBody", {"input": "hi", "include": include}, good
    for top, good in [(0, True), (20, True), (21, False)]:
        yield "ChatBody", {**chat, "logprobs": True, "top_logprobs": top}, good
    yield "ModerationBody", {"input": [{"type": "text", "text": "a"}]}, True
    yield "ModerationBody", {"input": [{"type": "image_url"}]}, False
    yield "ClientSecretBody", {"expires_after": {"anchor": "created_at", "seconds": 60}}, True
    yield "ClientSecretBody", {"expires_after": {"seconds": 9}}, False


@pytest.mark.parametrize(("name", "body", "good"), list(agreed_bodies()), ids=lambda v: str(v)[:40])
def test_parser_and_schema_agree(name: str, body: dict[str, Any], good: bool) -> None:
    assert parses(name, body) == good
    assert accepts(name, body) == good


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "role", "content", "id", "format"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
known = {name: list(openapi_document()["components"]["schemas"][name]["properties"]) for name in PARSERS}


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
def test_no_body_raises_anything_but_a_protocol_error_with_a_param(name: str, data: st.DataObject) -> None:
    parse, minimal = PARSERS[name]
    fields = data.draw(
        st.dictionaries(st.sampled_from(known[name]) | st.text(max_size=5), values, max_size=4)
    )
    body = {**minimal, **fields}
    try:
        parse(body)
    except ProtocolError as error:
        param = error.param
    else:
        return
    assert param is not None
    assert any(param.startswith(field[:128]) for field in known[name]) or param in body


messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system", "developer", "tool"]),
        "content": st.text()
        | st.lists(
            st.fixed_dictionaries(
                {"type": st.sampled_from(["input_text", "text", "poem"]), "text": st.text()}
            ),
            max_size=3,
        ),
    },
    optional={"status": st.sampled_from([None, "completed", "lost"]), "phase": st.none()},
)


@given(st.lists(messages, max_size=3))
def test_an_input_that_parses_also_fits_the_schema(items: list[Any]) -> None:
    body = {"input": items}
    if parses("CreateResponseBody", body):
        assert accepts("CreateResponseBody", body)
