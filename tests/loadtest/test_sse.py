from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from loadtest.sse import EventData

STREAM = (
    b'event: x\r\ndata: {"a":1}\r\n\r\n: comment\n\ndata:{"b":2}\ndata: more\n\ndata: [DONE]\n\ndata: cut'
)
EVENTS = [b'{"a":1}', b'{"b":2}\nmore', b"[DONE]"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_any_cutting_of_the_bytes_gives_the_same_events(cuts: list[int]) -> None:
    events = EventData()
    edges = [0, *sorted(cuts), len(STREAM)]
    found = [data for begin, end in pairwise(edges) for data in events.feed(STREAM[begin:end])]
    assert found == EVENTS
