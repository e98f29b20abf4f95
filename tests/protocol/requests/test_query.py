"""Query parameters: what is read of them, and what is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codes import ProtocolError
from protocol.requests.query import ItemPage, Retrieve, parse_item_page, parse_retrieve


@pytest.mark.parametrize(
    ("query", "read"),
    [
        ({}, Retrieve()),
        ({"stream": "False", "include": "", "include[]": "", "include_obfuscation": "false"}, Retrieve()),
        ({"stream": "TRUE"}, Retrieve(stream=True)),
        ({"stream": "true", "starting_after": "0"}, Retrieve(stream=True, starting_after=0)),
        ({"stream": "true", "starting_after": "000000012"}, Retrieve(stream=True, starting_after=12)),
    ],
)
def test_a_retrieve_is_read(query: dict[str, str], read: Retrieve) -> None:
    assert parse_retrieve(query) == read


@pytest.mark.parametrize(
    ("query", "read"),
    [
        ({}, ItemPage()),
        ({"order": "asc", "after": "msg_1", "limit": "100"}, ItemPage(order="asc", after="msg_1", limit=100)),
        ({"order": "desc", "limit": "1", "include": ""}, ItemPage(limit=1)),
    ],
)
def test_a_page_is_read(query: dict[str, str], read: ItemPage) -> None:
    assert parse_item_page(query) == read


REFUSED = [
    (parse_retrieve, {"stream": "yes"}, "stream", "invalid_value"),
    (parse_retrieve, {"starting_after": "1"}, "starting_after", "invalid_value"),
    (parse_retrieve, {"include": "x"}, "include", "unsupported_parameter"),
    (parse_retrieve, {"include_obfuscation": "true"}, "include_obfuscation", "unsupported_parameter"),
    (parse_retrieve, {"limit": "1"}, "limit", "unsupported_parameter"),
    (parse_item_page, {"order": "up"}, "order", "invalid_value"),
    (parse_item_page, {"include[]": "message.input_image.image_url"}, "include", "unsupported_parameter"),
    (parse_item_page, {"before": "msg_1"}, "before", "unsupported_parameter"),
    *[(parse_item_page, {"limit": text}, "limit", "invalid_value") for text in ("0", "101", "-1", "٣", "", "1e1")],
    *[
        (parse_retrieve, {"stream": "true", "starting_after": text}, "starting_after", "invalid_value")
        for text in ("", "-1", "x", "1234567890", "²")
    ],
]  # fmt: skip


@pytest.mark.parametrize(("parse", "query", "param", "code"), REFUSED)
def test_what_is_not_understood_is_refused_by_name(
    parse: Callable[[dict[str, str]], Any], query: dict[str, str], param: str, code: str
) -> None:
    with pytest.raises(ProtocolError) as refused:
        parse(query)
    assert (refused.value.param, refused.value.code) == (param, code)


names = st.sampled_from(["stream", "starting_after", "order", "after", "limit", "include"]) | st.text()


@given(
    st.dictionaries(names, st.text(max_size=12), max_size=4),
    st.sampled_from([parse_retrieve, parse_item_page]),
)
def test_any_query_is_read_or_refused(query: dict[str, str], parse: Callable[[dict[str, str]], Any]) -> None:
    try:
        parse(query)
    except ProtocolError as error:
        param = error.param
    else:
        return
    assert param is not None
    assert any(name.startswith(param) for name in query)
