"""What the log never holds, at any level."""

from __future__ import annotations

import logging

import pytest

from engine.scripted import ScriptedEngine
from tests.app.serving import serving
from tests.app.talk import talking

pytestmark = pytest.mark.anyio


async def test_neither_a_key_nor_a_text_of_a_client_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("", "uvicorn", "uvicorn.error", "sluice"):
        caplog.set_level(logging.DEBUG, name)
    async with serving(ScriptedEngine()) as served, talking(served) as talk:
        await talk.turn("words of mine", store=False)
    ours = [
        record for record in caplog.records if not record.name.startswith("websockets.")
    ]  # the client's own
    logged = "\n".join(record.getMessage() for record in ours)
    assert "response ended" in logged
    assert served.key not in logged
    assert "words of mine" not in logged
