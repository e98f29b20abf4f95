from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from loadtest.drain import Drain, DrainError, client_frame
from loadtest.raw import delta_frame, moment
from loadtest.server import serving_raw
from loadtest.target import Target
from protocol.client import ClientConnection


def parsed(data: bytes, *, mask: bool) -> Frame:
    """What the `websockets` library reads in `data`, which must be one whole frame."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    parsing = Frame.parse(reader.read_exact, mask=mask, max_size=None)
    with pytest.raises(StopIteration) as result:
        next(parsing)
    assert reader.buffer == b""
    frame: Frame = result.value.value
    return frame


@given(st.binary(max_size=300) | st.integers(65530, 65540).map(lambda size: b"x" * size))
def test_a_frame_of_ours_is_what_a_server_reads(payload: bytes) -> None:
    frame = parsed(client_frame(payload), mask=True)
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.TEXT, True, payload)


def test_a_ready_frame_is_a_delta_of_the_wire() -> None:
    frame = parsed(delta_frame(" hello"), mask=False)
    client = ClientConnection()
    client.receive(
        b'{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","status":"in_progress"}}'
    )
    progress = client.progress()
    assert progress is not None
    progress.next_sequence = 1000
    event = client.receive(bytes(frame.data))
    assert (event.type, event.delta) == ("response.output_text.delta", " hello")


def test_frames_of_the_bare_loop_are_counted() -> None:
    size = len(delta_frame(" hello"))
    with serving_raw(0, 4) as served, Drain(served.target, 3) as drain:
        drain.send([b"go"])
        drained = drain.count(0.3)
    assert drained.frames > 0
    # a stretch may end within a frame, so a frame a socket may be counted and not be whole
    assert abs(drained.bytes - drained.frames * size) <= 3 * size
    assert drained.wall_s >= 0.3


def test_deltas_that_carry_their_time_have_an_age() -> None:
    with serving_raw(200, 1) as served, Drain(served.target, 2) as drain:
        drain.send([b"go"])
        ages = drain.ages(0.5)
    assert ages
    assert min(ages) > 0


def test_an_age_is_the_difference_of_two_moments() -> None:
    with answering(delta_frame(moment(5_000_000_000)) * 2) as port, Drain(at(port), 1) as drain:
        drain.send([b"go"])
        assert drain.ages(0.3, clock=lambda: 7_500_000_000) == [2.5, 2.5]


@pytest.mark.parametrize("cut", [1, 2, 4, 100])
def test_a_frame_that_two_reads_share_is_counted_once(cut: int) -> None:
    whole = delta_frame(" a") + delta_frame(" b")
    middle = len(whole) // 2 + cut
    with answering(whole[:middle], whole[middle:]) as port, Drain(at(port), 1) as drain:
        drain.send([b"go"])
        first = drain.count(0.2)
        drain.send([b"go"])
        second = drain.count(0.2)
    assert (first.bytes, second.bytes) == (middle, len(whole) - middle)
    assert first.frames + second.frames == 2


def test_a_refused_handshake_is_reported() -> None:
    with (
        answering(head=b"HTTP/1.1 401 Unauthorized\r\n\r\n") as port,
        pytest.raises(DrainError, match="401 Unauthorized"),
    ):
        Drain(at(port), 1)


def test_a_handshake_that_breaks_off_is_reported() -> None:
    with answering(head=b"HTTP/1.1 101 Sw") as port, pytest.raises(DrainError, match="ended the handshake"):
        Drain(at(port), 1)


def test_a_server_that_leaves_is_reported() -> None:
    with answering() as port, Drain(at(port), 1) as drain, pytest.raises(DrainError, match="closed"):
        drain.count(10.0)
    with answering() as port, Drain(at(port), 1) as drain, pytest.raises(DrainError, match="closed"):
        drain.ages(10.0)


HEAD = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


def at(port: int) -> Target:
    return Target("ws", "127.0.0.1", port, "/v1/responses", "key")


@contextmanager
def answering(*chunks: bytes, head: bytes = HEAD) -> Iterator[int]:
    """A server of one connection: the head, a chunk for each message of the reader, and it hangs up when the reader
    does, or at once if it has no chunks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(head)
                for chunk in chunks:
                    connection.recv(65536)
                    connection.sendall(chunk)
                if chunks:
                    connection.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()
