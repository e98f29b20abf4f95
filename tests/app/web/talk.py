"""What a user does on the page, in the user's words."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from playwright.sync_api import Locator, Page, WebSocket, expect

WAIT_MS = 30_000  # bounds every wait for a condition; nothing is expected to take it
ENDED = re.compile("^(?!sending|queued|working|writing)")


def say(page: Page, text: str) -> Locator:
    """Type and send a message; the turn that begins."""
    turns = page.locator(".turn")
    before = turns.count()
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")
    expect(turns).to_have_count(before + 1)
    return turns.last


def ask(page: Page, text: str) -> Locator:
    """Send a message and wait for the end of its reply."""
    turn = say(page, text)
    has_ended(turn)
    return turn


def has_ended(turn: Locator, state: str | None = None) -> None:
    expect(turn).to_have_attribute("data-state", ENDED if state is None else state, timeout=WAIT_MS)


def reply(turn: Locator) -> Locator:
    return turn.locator(".reply")


def figures(turn: Locator) -> dict[str, str]:
    """The figures under a reply by their names."""
    found = turn.locator(".figures > div")
    return {row.locator("dt").inner_text(): row.locator("dd").inner_text() for row in found.all()}


def count(turn: Locator, name: str) -> int:
    """A figure that is a number of tokens."""
    return int(figures(turn)[name].replace(",", ""))


def words(count: int) -> str:
    """A text of this many words, a token each in the scripted engine."""
    return " ".join(f"word{number}" for number in range(count))


def frames_of(page: Page, direction: Literal["framesent", "framereceived"]) -> list[dict[str, Any]]:
    """What crosses the socket that way from now on; the page is loaded anew to be heard from the start."""
    frames: list[dict[str, Any]] = []

    def listen(socket: WebSocket) -> None:
        def note(frame: bytes | str) -> None:
            frames.append(json.loads(frame))

        if direction == "framesent":
            socket.on("framesent", note)
        else:
            socket.on("framereceived", note)

    page.on("websocket", listen)
    page.reload()
    page.locator('#status[data-light="on"]').wait_for()
    return frames
