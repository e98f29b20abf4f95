"""Ready frames."""

from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode

from app.wire import text_frame


@pytest.mark.parametrize("size", [0, 125, 126, 511, 512, 65_535, 65_536])
def test_a_frame_of_each_length_is_what_a_library_makes_of_it(size: int) -> None:
    payload = b"x" * size
    assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)
