"""The input of a stored response as items, page by page."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseItemList

from protocol.codec import encode
from protocol.codes import ProtocolError
from protocol.input_items import input_items, page_of
from protocol.requests.message import Message
from protocol.requests.query import MAX_ITEMS, ItemPage
from tests.protocol.validation import validate

TALK = [
    Message("system", "Be brief."),
    Message("user", "Hi"),
    Message("assistant", "Hello."),
    Message("user", "Who are you?"),
]


def test_the_newest_item_comes_first_unless_asked_otherwise() -> None:
    items = input_items("resp_7f", TALK)
    newest, oldest = page_of(items, ItemPage()), page_of(items, ItemPage(order="asc"))
    assert newest.data == oldest.data[::-1]
    assert [item.id for item in oldest.data] == ["msg_7f_0", "msg_7f_1", "msg_7f_2", "msg_7f_3"]
    assert (oldest.first_id, oldest.last_id, oldest.has_more) == ("msg_7f_0", "msg_7f_3", False)


def test_the_items_are_of_the_standards_types() -> None:
    page = encode(page_of(input_items("resp_7f", TALK), ItemPage(order="asc")))
    validate(page, "InputItemList")
    listed = ResponseItemList.model_validate_json(page, strict=True)
    kinds = [(item.type, item.role, item.content[0].type) for item in listed.data]  # type: ignore[union-attr]
    assert kinds == [
        ("message", "system", "input_text"),
        ("message", "user", "input_text"),
        ("message", "assistant", "output_text"),
        ("message", "user", "input_text"),
    ]


def test_calls_and_what_they_gave_are_items_of_their_own() -> None:
    talk = [Message("assistant", '{"a": 1}', "f", "call_1"), Message("tool", "2", call_id="call_1")]
    page = encode(page_of(input_items("resp_7f", talk), ItemPage(order="asc")))
    validate(page, "InputItemList")
    call, gave = ResponseItemList.model_validate_json(page, strict=True).data
    assert call.to_dict() == {
        "type": "function_call",
        "id": "fc_7f_0",
        "call_id": "call_1",
        "name": "f",
        "arguments": '{"a": 1}',
        "status": "completed",
    }
    assert gave.to_dict() == {
        "type": "function_call_output",
        "id": "fco_7f_1",
        "call_id": "call_1",
        "output": "2",
        "status": "completed",
    }


def test_a_page_past_the_last_item_is_empty() -> None:
    page = page_of(input_items("resp_7f", TALK), ItemPage(after="msg_7f_0"))
    assert (page.data, page.first_id, page.last_id, page.has_more) == ((), None, None, False)


def test_an_item_of_another_response_is_no_place_to_go_on_from() -> None:
    with pytest.raises(ProtocolError) as refused:
        page_of(input_items("resp_7f", TALK), ItemPage(after="msg_80_0"))
    assert (refused.value.code, refused.value.param) == ("invalid_value", "after")


@given(st.integers(0, 250), st.integers(1, MAX_ITEMS), st.sampled_from(["asc", "desc"]))
def test_the_pages_of_any_size_are_the_items_once_each(
    count: int, limit: int, order: Literal["asc", "desc"]
) -> None:
    items = input_items("resp_7f", [Message("user", str(index)) for index in range(count)])
    read, after, more = [], None, True
    while more:
        page = page_of(items, ItemPage(order=order, after=after, limit=limit))
        assert len(page.data) <= limit
        read += page.data
        after, more = page.last_id, page.has_more
    assert read == (items if order == "asc" else items[::-1])
