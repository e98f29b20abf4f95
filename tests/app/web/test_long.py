"""A conversation of 200 turns: what a token costs does not grow with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.app.web.talk import has_ended, reply, say, words

pytestmark = pytest.mark.browser

TURNS = 200
REPLY = (
    "## Title\n\nSome **bold** text.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- one\n- two\n\n```py\ncode\n```"
)
WATCH_CHANGES = """() => {
    window.changed = new Set();
    const turns = [...document.querySelectorAll(".turn")];
    new MutationObserver((records) => {
        for (const { target } of records) window.changed.add(turns.indexOf(target.closest?.(".turn")));
    }).observe(document.getElementById("turns"), { subtree: true, childList: true, attributes: true });
}"""


@pytest.fixture
def long_page(page: Page) -> Page:
    saved = json.dumps({"turns": [_turn(at) for at in range(1, TURNS + 1)], "leaf": TURNS})
    page.evaluate(
        "(saved) => { sessionStorage['sluice.conversation'] = saved; Storage.prototype.setItem = () => {} }",
        saved,
    )
    page.reload()
    page.locator('#status[data-light="on"]').wait_for()
    expect(page.locator(".turn")).to_have_count(TURNS)
    return page


def test_a_new_turn_leaves_those_before_it_untouched(long_page: Page) -> None:
    long_page.evaluate(WATCH_CHANGES)
    turn = say(long_page, words(40))
    has_ended(turn, "completed")
    assert reply(turn).inner_text() == words(40)
    # -1: the list itself and the new turn, which was not there before.
    assert long_page.evaluate("[...window.changed]") == [-1]


def test_it_opens_at_its_end_and_what_is_out_of_sight_is_not_laid_out(long_page: Page) -> None:
    turns = long_page.locator(".turn")
    expect(turns.last).to_be_in_viewport()
    expect(long_page.get_by_role("button", name="Latest")).to_be_hidden()
    unseen = "(node) => node.querySelector('h4').checkVisibility({ contentVisibilityAuto: true })"
    assert [turns.nth(at).evaluate(unseen) for at in (0, TURNS - 1)] == [False, True]
    turns.first.scroll_into_view_if_needed()
    expect(turns.first.get_by_role("heading", name="Title")).to_be_in_viewport()


def _turn(at: int) -> dict[str, Any]:
    ended = {
        "sentAt": 1,
        "firstAt": 2,
        "lastAt": 3,
        "endedAt": 4,
        "usage": None,
        "limit": None,
        "problem": None,
    }
    said = {
        "text": f"Question {at}",
        "reply": REPLY,
        "state": "completed",
        "responseId": None,
        "model": "scripted",
    }
    return {"id": at, "parent": at - 1 or None, "seen": 9, **said, **ended}
