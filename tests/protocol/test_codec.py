"""Bytes in and out of the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.codec import (
    DELTA,
    NO_LANE,
    SSE_DONE,
    decode_object,
    encode,
    error_answer,
    error_event,
    error_headers,
    sse,
    with_lane,
)
from protocol.codes import ERRORS, ProtocolError
from protocol.events import OutputTextDelta
from tests.protocol.samples import AT

NESTING = 64

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def nested(levels: int) -> str:
    """An object of exactly `levels` levels."""
    return '{"a":' + "[" * (levels - 1) + "1" + "]" * (levels - 1) + "}"


@pytest.mark.parametrize(
    "data",
    [
        "",
        " ",
        "nothing",
        '{"a":1',
        '{"a":1} x',
        '{"a":NaN}',
        '{"a":Infinity}',
        '{"a":-Infinity}',
        '{"a":1e999}',
        '{"a":' + "9" * 5000 + "}",
        "\ufeff{}",
        b"\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        '{"a":"\\ud800"}',
        '{"a":"\\ud800 and more text"}',
        '{"a":"\\ud800\\u0041"}',
        '{"a":"\\udc00"}',
        '{"a":"\\udc00\\ud800"}',
        '{"\\ud800":1}',
        '{"a":"\ud800"}',
        '{"a":"\n"}',
        "{'a':1}",
        '{"a":1,}',
        "[]",
        "1",
        "null",
        '"text"',
        "[" * 1_000_000,
        '{"a":' * 1_000_000,
        nested(NESTING + 1),
        nested(5000),
    ],
    ids=lambda data: repr(data)[:24],
)
def test_what_is_no_object_of_json_is_refused_by_name(data: str | bytes) -> None:
    with pytest.raises(ProtocolError) as refused:
        decode_object(data, max_nesting=NESTING)
    assert refused.value.code == "invalid_json"
    assert len(refused.value.message) < 200


@pytest.mark.parametrize("levels", [1, NESTING - 1, NESTING])
def test_nesting_up_to_the_limit_passes(levels: int) -> None:
    assert "a" in decode_object(nested(levels), max_nesting=NESTING)
    assert "a" in decode_object(nested(levels).encode(), max_nesting=NESTING)


def test_many_shallow_levels_are_not_deep() -> None:
    wide = decode_object('{"a":[' + ",".join(["{}"] * 1000) + "]}", max_nesting=3)
    assert len(wide["a"]) == 1000


@pytest.mark.parametrize("text", ["[[[{{{" * 50, '\\"[[' * 50, "\\\\", '"', '\\\\"]}', "\\"])
def test_brackets_in_a_string_are_text(text: str) -> None:
    body = {"a": text, "b": [[text], {text: [[[]]]}] * 3}
    assert decode_object(json.dumps(body), max_nesting=6) == body
    with pytest.raises(ProtocolError, match="deeper than 5 levels"):
        decode_object(json.dumps(body), max_nesting=5)


@pytest.mark.parametrize("opened", ["[", '{"a":', '{"[":'])
def test_arrays_and_objects_under_at_and_over_their_number(opened: str) -> None:
    close = "]" if opened == "[" else "}"
    one = opened + ("1" if opened != "[" else "") + close

    def body(containers: int) -> str:
        return '{"a":[' + ",".join([one] * (containers - 2)) + "]}"

    for containers in (99, 100):
        assert decode_object(body(containers), max_nesting=4, max_containers=100)
    with pytest.raises(ProtocolError, match="more than 100 arrays and objects"):
        decode_object(body(101), max_nesting=4, max_containers=100)


def test_a_body_of_very_many_names_is_refused_before_they_are_read() -> None:
    """Each is an object of its own, made while nothing else runs."""

    def body(names: int) -> bytes:
        return encode({f"a:{number}": ":" for number in range(names)})

    assert len(decode_object(body(100), max_nesting=4, max_containers=100)) == 100
    with pytest.raises(ProtocolError, match="more than 100 names"):
        decode_object(body(101), max_nesting=4, max_containers=100)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@given(st.dictionaries(st.text(), json_values), st.integers(1, 6))
def test_nesting_is_what_it_is_whatever_the_strings_hold(value: dict[str, Any], limit: int) -> None:
    text = json.dumps(value)
    if depth(value) <= limit:
        assert decode_object(text, max_nesting=limit) == value
        return
    with pytest.raises(ProtocolError, match=f"deeper than {limit} levels"):
        decode_object(text, max_nesting=limit)


def test_the_last_of_repeated_keys_counts() -> None:
    assert decode_object('{"a":1,"a":2}', max_nesting=2) == {"a": 2}


def test_a_surrogate_pair_is_one_character_and_nul_is_text() -> None:
    assert decode_object('{"a":"\\ud83d\\ude00\\u0000"}', max_nesting=2) == {"a": "😀\0"}


@given(st.dictionaries(st.text(), json_values))
def test_any_object_is_read_as_it_was_written(value: dict[str, Any]) -> None:
    assert decode_object(json.dumps(value, allow_nan=False), max_nesting=NESTING) == value


@given(st.binary() | st.text(st.characters(exclude_categories=[])))
@example(b'{"a":"\\u')
@example('{"\\uD8')
def test_no_bytes_raise_anything_but_a_protocol_error(data: bytes | str) -> None:
    try:
        value = decode_object(data, max_nesting=NESTING)
    except ProtocolError:
        return
    assert json.loads(encode(value)) == value


escapes = st.lists(
    st.sampled_from(["\\ud800", "\\udbff", "\\udc00", "\\udfff", "\\u0041", "a", "\\n", "\\\\", "é"]),
    max_size=6,
)


@given(escapes)
def test_whatever_text_is_let_in_can_be_encoded_again(parts: list[str]) -> None:
    try:
        value = decode_object('{"a":"' + "".join(parts) + '"}', max_nesting=2)
    except ProtocolError:
        return
    assert json.loads(encode(value)) == value


@given(st.text(), st.integers(0, 1 << 40))
def test_a_delta_out_of_its_template_is_the_event_itself(text: str, number: int) -> None:
    event = OutputTextDelta(sequence_number=number, delta=text, **AT)
    assert DELTA % (encode(event.item_id), encode(text), number, NO_LANE) == encode(event)


def test_a_lane_is_added_to_ready_bytes() -> None:
    event = OutputTextDelta(sequence_number=7, delta="}", **AT)
    ready = encode(event)
    assert with_lane(ready, None) is ready
    lane = OutputTextDelta(sequence_number=7, delta="}", stream_id="a.b-c_9", **AT)
    assert json.loads(with_lane(ready, "a.b-c_9")) == json.loads(encode(lane))


@given(st.text())
def test_a_server_sent_event_is_one_line_of_data_whatever_the_text(text: str) -> None:
    event = sse("response.output_text.delta", encode({"delta": text}))
    head, data, *rest = event.decode().split("\n")
    assert (head, rest) == ("event: response.output_text.delta", ["", ""])
    assert json.loads(data.removeprefix("data: ")) == {"delta": text}
    assert "\r" not in data


def test_done_is_a_whole_event() -> None:
    assert SSE_DONE == b"data: [DONE]\n\n"


def test_an_error_answer_has_the_wire_shape() -> None:
    error = ProtocolError("invalid_value", "No.", param="top_p")
    assert json.loads(error_answer(error, "req_1")) == {
        "error": {
            "message": "No.",
            "type": "invalid_request_error",
            "param": "top_p",
            "code": "invalid_value",
        },
        "request_id": "req_1",
    }


def test_an_error_event_has_the_wire_shape_and_its_lane() -> None:
    error = ProtocolError("websocket_stream_limit_reached", "Full.", retry_after_s=2.2)
    body = {"message": "Full.", "type": "rate_limit_error", "param": None, "code": error.code}
    assert json.loads(encode(error_event(error, "a"))) == {
        "type": "error",
        "status": 429,
        "error": body,
        "headers": {"retry-after": "3", "retry-after-ms": "2200"},
        "stream_id": "a",
    }
    assert b"stream_id" not in encode(error_event(error, None))


@pytest.mark.parametrize(
    ("code", "after_s", "headers"),
    [
        ("invalid_value", None, {}),
        ("insufficient_quota", None, {"x-should-retry": "false"}),
        ("budget_exceeded", 5.0, {"x-should-retry": "false"}),
        ("rate_limit_exceeded", 0.0, {"retry-after": "1", "retry-after-ms": "0"}),
        ("rate_limit_exceeded", 0.25, {"retry-after": "1", "retry-after-ms": "250"}),
        ("rate_limit_exceeded", 119.5, {"retry-after": "120", "retry-after-ms": "119500"}),
        ("queue_full", None, {"retry-after": "1", "retry-after-ms": "1000"}),
        ("internal_error", None, {}),
        ("internal_error", 3.0, {"retry-after": "3", "retry-after-ms": "3000"}),
        ("idempotency_key_mismatch", None, {}),
    ],
)
def test_headers_say_whether_and_when_to_come_back(
    code: str, after_s: float | None, headers: dict[str, str]
) -> None:
    assert error_headers(ProtocolError(code, "", retry_after_s=after_s)) == headers


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_no_sdk_retries_what_will_not_help(code: str) -> None:
    """The SDKs retry 408, 409, 429 and 5xx unless told otherwise."""
    info = ERRORS[code]
    retried = info.status in (408, 409, 429) or info.status >= 500
    told_not_to = error_headers(ProtocolError(code, "")).get("x-should-retry") == "false"
    assert info.retry == (retried and not told_not_to)
