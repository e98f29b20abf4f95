"""The client's side of a socket, fed by the server's own events."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.client import ClientConnection, ContractBroken
from protocol.codec import encode, error_event, with_lane
from protocol.codes import ProtocolError
from protocol.connection import Cancel, ServerConnection, Start
from protocol.events import ResponseCreated, ResponseEvent
from protocol.limits import ConnectionLimits, Limits
from tests.protocol.samples import begun, failed, response, turn


def feed(client: ClientConnection, *events: ResponseEvent, lane: str | None = None) -> None:
    for event in events:
        client.receive(with_lane(encode(event), lane))


def test_the_server_understands_what_it_sends() -> None:
    client = ClientConnection()
    server = ServerConnection(ConnectionLimits(), Limits())
    [start] = server.receive_text(client.create("hi", "a", temperature=0, max_output_tokens=4))
    assert isinstance(start, Start)
    assert (start.lane, start.create.temperature, start.create.max_output_tokens) == ("a", 0.0, 4)
    [start] = server.receive_text(client.create([{"role": "user", "content": "hi"}]))
    assert isinstance(start, Start)
    assert start.lane is None
    assert server.receive_text(client.cancel("resp_1")) == [Cancel("resp_1")]


def test_a_turn_is_followed_to_its_end() -> None:
    client = ClientConnection()
    *events, last = turn(["a", "b"])
    feed(client, *events)
    progress = client.progress()
    assert progress is not None
    assert (progress.response_id, progress.next_sequence, progress.ended) == ("resp_1", len(events), False)
    assert client.open_lanes == [None]
    received = client.receive(encode(last))
    assert received.terminal
    assert received.response is not None
    assert (received.response.status, received.response.usage is not None) == ("completed", True)
    assert progress.ended
    assert client.open_lanes == []


@given(st.data())
def test_lanes_may_interleave_in_any_way(data: st.DataObject) -> None:
    client = ClientConnection()
    left = {lane: turn(["x"] * pieces) for lane, pieces in (("a", 1), ("b", 3), (None, 0))}
    while left:
        lane = data.draw(st.sampled_from(sorted(left, key=str)))
        feed(client, left[lane].pop(0), lane=lane)
        if not left[lane]:
            del left[lane]
    assert client.open_lanes == []


def test_the_next_turn_of_a_lane_begins_again_at_nought() -> None:
    client = ClientConnection()
    feed(client, *turn(["a"]), *turn(["b"]), *begun(), failed())
    assert client.open_lanes == []


def test_a_delta_carries_its_text() -> None:
    client = ClientConnection()
    texts = [client.receive(encode(event)).delta for event in turn(["Hel", "lo"])]
    assert "".join(texts) == "Hello"


def test_an_error_and_an_unknown_event_pass() -> None:
    client = ClientConnection()
    error = client.receive(encode(error_event(ProtocolError("queue_full", "Full."), "a")))
    assert error.error is not None
    assert (error.type, error.error.code, error.stream_id) == ("error", "queue_full", "a")
    assert error.headers["retry-after"] == "1"
    assert client.receive('{"type":"sluice:rate_limits.updated","sequence_number":3}').sequence_number == 3


@pytest.mark.parametrize("position", range(1, 10))
def test_a_lost_event_is_noticed(position: int) -> None:
    client = ClientConnection()
    events = turn(["a"])
    if position == len(events) - 1:
        feed(client, *events[:position])
        assert client.open_lanes == [None]
        return
    with pytest.raises(ContractBroken, match="sequence_number"):
        feed(client, *events[:position], *events[position + 1 :])


def test_a_repeated_event_is_noticed() -> None:
    client = ClientConnection()
    events = turn(["a"])
    feed(client, *events[:6])
    with pytest.raises(ContractBroken, match="sequence_number 5, not 6"):
        feed(client, events[5])


def test_an_event_after_the_end_is_noticed() -> None:
    client = ClientConnection()
    events = turn(["a"])
    feed(client, *events)
    with pytest.raises(ContractBroken, match="outside a response"):
        feed(client, events[-1])


def test_an_event_before_the_beginning_is_noticed() -> None:
    with pytest.raises(ContractBroken, match="outside a response"):
        feed(ClientConnection(), turn(["a"])[1])


def test_two_turns_at_once_in_a_lane_are_noticed() -> None:
    client = ClientConnection()
    feed(client, *begun())
    with pytest.raises(ContractBroken, match="before resp_1 ended"):
        feed(client, begun()[0])


def test_a_response_that_changes_its_id_is_noticed() -> None:
    client = ClientConnection()
    first, *_, last = turn(["a"])
    feed(client, first)
    stranger = json.loads(encode(last))
    stranger["response"]["id"] = "resp_2"
    stranger["sequence_number"] = 1
    with pytest.raises(ContractBroken, match="resp_2"):
        client.receive(json.dumps(stranger))


def test_a_beginning_that_is_not_the_first_is_noticed() -> None:
    with pytest.raises(ContractBroken, match="first event"):
        feed(ClientConnection(), ResponseCreated(sequence_number=1, response=response()))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"type":1}', b'{"type":"\xff"}', "nothing"])
def test_what_is_no_event_is_noticed(data: bytes | str) -> None:
    with pytest.raises(ContractBroken, match="not an event"):
        ClientConnection().receive(data)
