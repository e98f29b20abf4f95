"""Messages in a request, in both shapes."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.codec import decode_object, encode
from protocol.limits import Limits
from protocol.requests.chat import parse_chat
from protocol.requests.create import parse_create
from protocol.requests.message import Message
from tests.protocol.requests.refusal import refusal
from tests.protocol.samples import turn

LIMITS = Limits()


def read(value: Any) -> tuple[Message, ...]:
    return parse_create({"input": value}, LIMITS, socket=False).messages


def read_chat(*messages: Any) -> tuple[Message, ...]:
    return parse_chat({"messages": list(messages)}, LIMITS).messages


def part(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


def user(content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **fields}


def test_a_string_is_a_user_message() -> None:
    assert read("hi \0\n") == (Message("user", "hi \0\n"),)


@pytest.mark.parametrize(
    ("role", "canonical"),
    [("user", "user"), ("assistant", "assistant"), ("system", "system"), ("developer", "system")],
)
def test_roles_in_both_shapes(role: str, canonical: Any) -> None:
    message = {"role": role, "content": "text"}
    assert read([message]) == read_chat(message) == (Message(canonical, "text"),)


def test_parts_are_joined_as_they_stand() -> None:
    content = [part("input_text", text="a "), part("text", text=""), part("output_text", text="b")]
    assert read([user(content)]) == read_chat(user(content)) == (Message("user", "a b"),)


def test_a_reply_can_be_fed_back_as_it_came() -> None:
    final = turn(["Hel", "lo"])[-1]
    items = decode_object(encode(final), max_nesting=64)["response"]["output"]
    assert read([user("hi"), *items, user("more")]) == (
        Message("user", "hi"),
        Message("assistant", "Hello"),
        Message("user", "more"),
    )


def test_a_reply_without_a_word_can_be_fed_back() -> None:
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "incomplete", "content": []}
    assert read([item]) == (Message("assistant", ""),)


def test_nulls_of_a_dumped_item_are_absent() -> None:
    text = part("output_text", text="a", annotations=[], logprobs=None, prompt_cache_breakpoint=None)
    item = {"type": None, "id": None, "status": None, "phase": None, "role": "assistant", "content": [text]}
    assert read([item]) == (Message("assistant", "a"),)


def test_an_assistant_may_have_refused() -> None:
    refused = part("refusal", refusal="No.")
    assert read([{"role": "assistant", "content": [refused]}]) == (Message("assistant", "No."),)
    assert read_chat({"role": "assistant", "content": None, "refusal": "No."}) == (
        Message("assistant", "No."),
    )
    assert read_chat({"role": "assistant", "content": "Yes.", "refusal": None}) == (
        Message("assistant", "Yes."),
    )
    assert refusal(lambda: read([user([refused])])) == ("invalid_value", "input[0].content[0].type")


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def test_a_call_and_what_it_gave_are_messages() -> None:
    call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a": 1}'}
    gave = {"type": "function_call_output", "call_id": "call_1", "output": "2"}
    fed_back = {"id": "fc_1", "status": "completed"}
    parts = {**gave, "output": [{"type": "input_text", "text": "2"}]}
    called, answered = Message("assistant", '{"a": 1}', "f", "call_1"), Message("tool", "2", "", "call_1")
    assert read([{**call, **fed_back}, gave, parts]) == (called, answered, answered)


def test_calls_of_a_chat_stand_in_its_assistants_messages() -> None:
    called, answered = Message("assistant", '{"a": 1}', "f", "call_1"), Message("tool", "2", "", "call_1")
    gave = {"role": "tool", "tool_call_id": "call_1", "content": "2"}
    for content in (None, ""):
        asked = {"role": "assistant", "content": content, "tool_calls": [CALL, CALL]}
        assert read_chat(asked, gave) == (called, called, answered)
    said = {"role": "assistant", "content": "Well.", "tool_calls": [CALL]}
    assert read_chat(said) == (Message("assistant", "Well."), called)


def test_an_empty_message_is_a_message() -> None:
    assert read([user("")]) == (Message("user", ""),)


def test_what_a_chat_answer_carries_can_be_fed_back() -> None:
    message = {
        "role": "assistant",
        "content": "a",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
        "name": None,
    }
    assert read_chat(message, user("b")) == (Message("assistant", "a"), Message("user", "b"))


@pytest.mark.parametrize(
    ("value", "code", "param"),
    [
        (None, "missing_required_parameter", "input"),
        ("", "invalid_value", "input"),
        ([], "invalid_value", "input"),
        (1, "invalid_value", "input"),
        ({"role": "user", "content": "x"}, "invalid_value", "input"),
        (["text"], "invalid_value", "input[0]"),
        ([user("a"), None], "invalid_value", "input[1]"),
        ([{"content": "x"}], "missing_required_parameter", "input[0].role"),
        ([{"type": "message", "content": "x"}], "missing_required_parameter", "input[0].role"),
        ([{"id": "msg_1"}], "missing_required_parameter", "input[0].role"),
        ([{"role": "user"}], "missing_required_parameter", "input[0].content"),
        ([{"role": "tool", "content": "x"}], "unsupported_parameter", "input[0].role"),
        ([{"type": "function_call", "name": "f"}], "missing_required_parameter", "input[0].call_id"),
        ([{"type": "function_call", "call_id": "c"}], "missing_required_parameter", "input[0].arguments"),
        (
            [{"type": "function_call", "call_id": "c", "arguments": "", "name": "a b"}],
            "invalid_value",
            "input[0].name",
        ),
        ([{"type": "function_call_output", "call_id": "c"}], "missing_required_parameter", "input[0].output"),
        ([{"type": "function_call_output", "output": ""}], "missing_required_parameter", "input[0].call_id"),
        ([{"role": "robot", "content": "x"}], "invalid_value", "input[0].role"),
        ([{"role": 1, "content": "x"}], "invalid_value", "input[0].role"),
        ([{"role": ["user"], "content": "x"}], "invalid_value", "input[0].role"),
        ([user(1)], "invalid_value", "input[0].content"),
        ([user({"type": "input_text"})], "invalid_value", "input[0].content"),
        ([user([])], "invalid_value", "input[0].content"),
        ([user(["x"])], "invalid_value", "input[0].content[0]"),
        ([user([part("input_text")])], "missing_required_parameter", "input[0].content[0].text"),
        ([user([part("input_text", text=1)])], "invalid_value", "input[0].content[0].text"),
        ([user([{"text": "x"}])], "missing_required_parameter", "input[0].content[0].type"),
        ([user([part("poem", text="x")])], "invalid_value", "input[0].content[0].type"),
        ([user([{"type": [], "text": "x"}])], "invalid_value", "input[0].content[0].type"),
        ([user([part("text", text="x", speed=1)])], "unsupported_parameter", "input[0].content[0].speed"),
        (
            [user([part("text", text="x", prompt_cache_breakpoint={"mode": "explicit"})])],
            "unsupported_parameter",
            "input[0].content[0].prompt_cache_breakpoint",
        ),
        (
            [user([part("output_text", text="x", annotations="none")])],
            "invalid_value",
            "input[0].content[0].annotations",
        ),
        (
            [user("a"), user("b"), user([part("input_text", text="x"), part("input_image", image_url="u")])],
            "unsupported_parameter",
            "input[2].content[1].type",
        ),
        ([user([part("input_file", file_id="f")])], "unsupported_parameter", "input[0].content[0].type"),
        ([user([part("input_audio")])], "unsupported_parameter", "input[0].content[0].type"),
        ([{"type": "item_reference", "id": "msg_1"}], "unsupported_parameter", "input[0].type"),
        ([{"type": 3, "role": "user", "content": "x"}], "invalid_value", "input[0].type"),
        ([user("x", id="")], "invalid_value", "input[0].id"),
        ([user("x", status="lost")], "invalid_value", "input[0].status"),
        ([user("x", phase="final_answer")], "unsupported_parameter", "input[0].phase"),
        ([user("x", name="Ann")], "unsupported_parameter", "input[0].name"),
    ],
)
def test_an_input_that_is_refused(value: Any, code: str, param: str) -> None:
    assert refusal(lambda: read(value)) == (code, param)


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("text", "invalid_value", "messages[0]"),
        ({"content": "x"}, "missing_required_parameter", "messages[0].role"),
        ({"role": "user", "content": None}, "missing_required_parameter", "messages[0].content"),
        ({"role": "assistant"}, "missing_required_parameter", "messages[0].content"),
        ({"role": "tool", "content": "x"}, "missing_required_parameter", "messages[0].tool_call_id"),
        ({"role": "tool", "tool_call_id": "c"}, "missing_required_parameter", "messages[0].content"),
        (
            {"role": "user", "content": "x", "tool_calls": [CALL]},
            "unsupported_parameter",
            "messages[0].tool_calls",
        ),
        ({"role": "assistant", "tool_calls": {}}, "invalid_value", "messages[0].tool_calls"),
        ({"role": "assistant", "tool_calls": [CALL] * 257}, "invalid_value", "messages[0].tool_calls"),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "type": "custom"}]},
            "invalid_value",
            "messages[0].tool_calls[0].type",
        ),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "function": None}]},
            "missing_required_parameter",
            "messages[0].tool_calls[0].function",
        ),
        ({"role": "function", "content": "x"}, "unsupported_parameter", "messages[0].role"),
        (user("x", refusal="No."), "unsupported_parameter", "messages[0].refusal"),
        (user("x", name="Ann"), "unsupported_parameter", "messages[0].name"),
        (
            {"role": "assistant", "content": "x", "tool_calls": [{"id": "c"}]},
            "missing_required_parameter",
            "messages[0].tool_calls[0].type",
        ),
        (
            user([part("image_url", image_url={"url": "u"})]),
            "unsupported_parameter",
            "messages[0].content[0].type",
        ),
    ],
)
def test_a_chat_message_that_is_refused(message: Any, code: str, param: str) -> None:
    assert refusal(lambda: read_chat(message)) == (code, param)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "missing_required_parameter"),
        ([], "invalid_value"),
        ("hi", "invalid_value"),
        ({}, "invalid_value"),
    ],
)
def test_no_chat_messages(value: Any, code: str) -> None:
    assert refusal(lambda: parse_chat({"messages": value}, LIMITS)) == (code, "messages")
