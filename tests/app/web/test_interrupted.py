"""Replies whose connection was lost before their end: what was shown stays, and the rest is read."""

from __future__ import annotations

import json
import re
import urllib.request
from http.client import HTTPResponse
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.app.web.serving import KEY, Served
from tests.app.web.talk import ask, count, figures, has_ended, reply, say, words

pytestmark = pytest.mark.browser

LONG = words(3000)  # half a minute of reply: always stopped by the test


def test_a_reply_that_a_reload_cut_off_is_kept_and_can_be_asked_for_again(page: Page) -> None:
    """The server stops a reply whose socket is gone; nothing that was shown is lost, and the chat goes on."""
    turn = say(page, LONG)
    expect(reply(turn)).to_contain_text("word9")
    page.reload()
    turn = page.locator(".turn").last
    has_ended(turn, "stopped")
    assert LONG.startswith(reply(turn).inner_text())
    expect(reply(turn)).to_contain_text("word9")
    expect(turn.locator(".notice")).to_contain_text("interrupted")
    assert set(figures(turn)) == {"in", "cached", "out"}
    page.locator('#status[data-light="on"]').wait_for()
    assert count(ask(page, "and now?"), "in") > count(page.locator(".turn").first, "in")
    page.locator(".turn").first.get_by_role("button", name="Regenerate").click()
    again = page.locator(".turn").last
    expect(again.locator(".branch")).to_have_text("2/2")
    expect(again).to_be_focused()
    expect(again.locator(".question")).to_have_text(LONG)
    page.keyboard.press("Escape")
    has_ended(again, "stopped")


def test_a_reply_that_goes_on_elsewhere_is_read_to_its_end(page: Page, server: Served) -> None:
    """Its events since are read by number, whoever asked for it."""
    ask(page, "first")
    text = words(300)
    with _post(f"{server.url}/v1/responses", {"input": text, "stream": True}) as running:
        created = json.loads(next(line for line in running if line.startswith(b"data: "))[6:])
        _lose_the_end(page, created["response"]["id"])
        turn = page.locator(".turn").last
        expect(turn).to_have_attribute("data-state", "writing")
        has_ended(turn, "completed")
    assert reply(turn).inner_text() == text


def test_a_reply_that_ended_meanwhile_is_read_as_a_whole(page: Page, server: Served) -> None:
    ask(page, "first")
    with _post(f"{server.url}/v1/responses", {"input": "ended long ago"}) as answer:
        response = json.load(answer)
    page.route(
        re.compile("stream=true"), lambda route: route.fulfill(status=404, json={})
    )  # replays are kept shortly
    _lose_the_end(page, response["id"])
    turn = page.locator(".turn").last
    has_ended(turn, "completed")
    assert reply(turn).inner_text() == "ended long ago"


def test_a_reply_that_the_server_forgot_stays_as_it_was_shown(page: Page) -> None:
    ask(page, "first")
    _lose_the_end(page, "resp_forgotten")
    turn = page.locator(".turn").last
    has_ended(turn, "interrupted")
    expect(turn.locator(".notice")).to_contain_text("interrupted")
    assert reply(turn).inner_text() == "first"
    turn.locator(".notice").get_by_role("button", name="Try again").click()
    has_ended(page.locator(".turn").last, "completed")


def _lose_the_end(page: Page, response_id: str) -> None:
    """Reload as if the last turn were that of this response, cut off at its beginning."""
    change = """(id) => {
        dispatchEvent(new Event("pagehide"));
        const saved = JSON.parse(sessionStorage["sluice.conversation"]);
        Object.assign(saved.turns.at(-1), { state: "writing", responseId: id, seen: 0, usage: null });
        sessionStorage.setItem("sluice.conversation", JSON.stringify(saved));
        Storage.prototype.setItem = () => {}; // the page that is left saves no more
    }"""
    page.evaluate(change, response_id)
    page.reload()


def _post(url: str, body: dict[str, Any]) -> HTTPResponse:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, method="POST", headers=headers, data=json.dumps(body).encode())
    answer = urllib.request.urlopen(request, timeout=30)
    assert isinstance(answer, HTTPResponse)
    return answer
