"""The server's side of a socket: what each frame leads to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocol.codes import Close, ProtocolError
from protocol.connection import Action, Cancel, CloseWith, Send, ServerConnection, Start
from protocol.limits import ConnectionLimits, Limits


def connection(limits: ConnectionLimits | None = None, **request_limits: int) -> ServerConnection:
    return ServerConnection(limits or ConnectionLimits(), Limits(**request_limits))


def create(stream_id: str | None = None, text: str = "hi", **fields: Any) -> str:
    lane = {} if stream_id is None else {"stream_id": stream_id}
    return json.dumps({"type": "response.create", "input": text, **lane, **fields})


def refused(actions: list[Action]) -> tuple[str, str | None, Any]:
    """`(code, param, stream_id)` of the one error event in `actions`."""
    [send] = actions
    assert isinstance(send, Send)
    return send.event.error.code, send.event.error.param, send.event.stream_id or None


def started(actions: list[Action]) -> tuple[str | None, str]:
    """`(lane, text)` of the one turn that starts."""
    [start] = actions
    assert isinstance(start, Start)
    assert start.create.stream_id == start.lane
    return start.lane, start.create.messages[0].content


def test_a_create_starts_in_its_lane() -> None:
    server = connection()
    assert started(server.receive_text(create())) == (None, "hi")
    assert started(server.receive_text(create("a"))) == ("a", "hi")
    assert started(server.receive_text(create("b").encode())) == ("b", "hi")
    assert repr(server) == "<ServerConnection open active=3 lanes=2>"


def test_a_lane_runs_its_turns_one_at_a_time_in_order() -> None:
    server = connection()
    assert started(server.receive_text(create("a", "1"))) == ("a", "1")
    assert server.receive_text(create("a", "2")) == []
    assert server.receive_text(create("a", "3")) == []
    assert started(server.receive_text(create(None, "other"))) == (None, "other")
    assert server.active == 4
    assert started(server.ended("a")) == ("a", "2")
    assert started(server.ended("a")) == ("a", "3")
    assert server.ended("a") == []
    assert server.active == 1
    assert started(server.receive_text(create("a", "4"))) == ("a", "4")


def test_no_turn_can_end_twice() -> None:
    server = connection()
    server.receive_text(create("a"))
    server.ended("a")
    with pytest.raises(AssertionError):
        server.ended("a")


def test_turns_up_to_the_limit_run_or_wait() -> None:
    server = connection(ConnectionLimits(max_active=3))
    for lane in ("a", "a", "b"):
        server.receive_text(create(lane))
    assert refused(server.receive_text(create("c"))) == ("websocket_stream_limit_reached", None, "c")
    assert refused(server.receive_text(create("a"))) == ("websocket_stream_limit_reached", None, "a")
    assert server.named_lanes == 2
    server.ended("b")
    assert started(server.receive_text(create("c"))) == ("c", "hi")


def test_a_name_counts_among_the_lanes_until_the_socket_closes() -> None:
    server = connection(ConnectionLimits(max_lanes=2))
    for lane in ("a", "b"):
        server.receive_text(create(lane))
        server.ended(lane)
    assert refused(server.receive_text(create("c"))) == (
        "websocket_stream_limit_reached",
        "stream_id",
        "c",
    )
    assert started(server.receive_text(create("a")))[0] == "a"
    assert started(server.receive_text(create()))[0] is None


def test_a_limit_says_when_to_come_back() -> None:
    server = connection(ConnectionLimits(max_active=1))
    server.receive_text(create())
    [send] = server.receive_text(create())
    assert isinstance(send, Send)
    assert send.event.status == 429
    assert send.event.headers["retry-after"] == "1"


def test_a_refused_create_takes_no_lane_and_no_turn() -> None:
    server = connection()
    assert refused(server.receive_text(create("a", temperature=3))) == ("invalid_value", "temperature", "a")
    assert (server.active, server.named_lanes) == (0, 0)


@pytest.mark.parametrize(
    ("text", "code", "param", "lane"),
    [
        ("", "invalid_json", None, None),
        ("{", "invalid_json", None, None),
        ("[]", "invalid_json", None, None),
        ('{"stream_id":"a"}', "missing_required_parameter", "type", "a"),
        ('{"type":null}', "missing_required_parameter", "type", None),
        ('{"type":1,"stream_id":"a"}', "invalid_value", "type", "a"),
        ('{"type":["response.create"]}', "invalid_value", "type", None),
        ('{"type":"response.creat"}', "invalid_value", "type", None),
        ('{"type":"session.update"}', "invalid_value", "type", None),
        ('{"type":"sluice:session.attach"}', "invalid_value", "type", None),
        (
            '{"type":"response.steer","previous_response_id":"r","input":"x"}',
            "unsupported_parameter",
            "type",
            None,
        ),
        ('{"type":"response.create"}', "missing_required_parameter", "input", None),
        ('{"type":"response.create","input":"x","stream_id":"a b"}', "invalid_value", "stream_id", None),
        ('{"type":"response.create","input":"x","stream_id":7}', "invalid_value", "stream_id", None),
        (
            '{"type":"response.create","input":"x","tools":[{}]}',
            "missing_required_parameter",
            "tools[0].type",
            None,
        ),
        ('{"type":"response.cancel"}', "missing_required_parameter", "response_id", None),
        ('{"type":"response.cancel","response_id":""}', "invalid_value", "response_id", None),
        ('{"type":"response.cancel","response_id":1,"stream_id":"a"}', "invalid_value", "response_id", "a"),
        ('{"type":"response.cancel","response_id":"r","why":1}', "unsupported_parameter", "why", None),
    ],
)
def test_a_bad_event_is_answered_and_the_connection_stays(
    text: str, code: str, param: str | None, lane: str | None
) -> None:
    server = connection()
    assert refused(server.receive_text(text)) == (code, param, lane)
    assert started(server.receive_text(create())) == (None, "hi")


def test_an_unknown_type_is_not_echoed_whole() -> None:
    [send] = connection().receive_text(json.dumps({"type": "x" * 100_000}))
    assert isinstance(send, Send)
    assert len(send.event.error.message) < 120


def test_a_cancel_names_a_response_whatever_its_lane() -> None:
    server = connection()
    assert server.receive_text('{"type":"response.cancel","response_id":"r","event_id":"e"}') == [Cancel("r")]
    assert server.receive_text('{"type":"response.cancel","response_id":"r","stream_id":"a"}') == [
        Cancel("r", "a")
    ]


def test_a_binary_frame_closes() -> None:
    server = connection()
    [close] = server.receive_binary()
    assert isinstance(close, CloseWith)
    assert close.code == Close.UNSUPPORTED_DATA
    assert server.receive_binary() == []


def exactly(size: int, filler: str) -> str:
    """A `response.create` of `size` bytes."""
    text = '{"type":"response.create","input":"%s"}'
    return text % filler.ljust(size - len(text) + 2 - len(filler.encode()) + len(filler), "x")


@pytest.mark.parametrize("filler", ["x", "é", "é" * 200, "😀" * 100])
def test_a_message_under_at_and_over_its_size_in_bytes(filler: str) -> None:
    server = connection(max_body_bytes=500)
    for size in (499, 500):
        text = exactly(size, filler)
        assert len(text.encode()) == size
        server.receive_text(text)
    assert server.active == 2
    [close] = server.receive_text(exactly(501, filler))
    assert isinstance(close, CloseWith)
    assert close.code == Close.TOO_BIG
    [close] = connection(max_body_bytes=500).receive_text(exactly(501, filler).encode())
    assert isinstance(close, CloseWith)


def test_the_limits_of_json_are_those_given() -> None:
    server = connection(max_nesting=3, max_containers=4)
    assert refused(server.receive_text(create(input=[[[[]]]])))[0] == "invalid_json"
    assert refused(server.receive_text(create(input=[[], [], [], []])))[0] == "invalid_json"
    assert refused(server.receive_text(create(input=[[]])))[0] == "invalid_value"


def test_what_comes_after_a_close_is_ignored() -> None:
    server = connection()
    for _ in range(3):
        server.receive_text(create("a"))
    server.receive_binary()
    assert server.active == 1
    assert server.receive_text(create()) == []
    assert server.ended("a") == []
    assert server.expired() == []
    assert repr(server) == "<ServerConnection closed active=0 lanes=1>"


def test_a_connection_that_is_too_old_is_told_and_closed() -> None:
    send, close = connection(ConnectionLimits(max_age_s=3600)).expired()
    assert refused([send])[0] == "websocket_connection_limit_reached"
    assert isinstance(send, Send)
    assert "60 minutes" in send.event.error.message
    assert isinstance(close, CloseWith)
    assert close.code == Close.GOING_AWAY


def test_a_connection_whose_key_was_revoked_is_told_and_closed() -> None:
    error = ProtocolError("revoked_api_key", "This key was revoked.")
    assert connection().end(error, Close.POLICY)[1] == CloseWith(1008, "revoked_api_key")


def test_a_close_reason_fits_its_frame() -> None:
    """A close frame has room for 123 bytes of reason."""
    [binary] = connection().receive_binary()
    [big] = connection(max_body_bytes=1).receive_text("xx")
    for close in (binary, big):
        assert isinstance(close, CloseWith)
        assert len(close.reason.encode()) <= 123
