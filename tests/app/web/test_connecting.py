"""How the page gets a key, and what it does when the server is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.app.web.serving import KEY, Served, served
from tests.app.web.talk import ask, has_ended, reply, say, words

pytestmark = pytest.mark.browser


def test_the_key_leaves_the_address_bar(page: Page, server: Served) -> None:
    assert page.url == f"{server.url}/"
    assert page.evaluate("history.length") <= 2
    assert page.evaluate("Object.values(localStorage).join()").find(KEY) == -1


def test_without_a_key_one_is_asked_for(visit: Callable[..., Page], server: Served) -> None:
    page = visit(server.url)
    dialog = page.get_by_role("dialog", name="Enter a key")
    expect(dialog).to_be_visible()
    page.get_by_label("Key", exact=True).fill(KEY)
    page.keyboard.press("Enter")
    page.locator('#status[data-light="on"]').wait_for()
    expect(dialog).to_be_hidden()
    has_ended(ask(page, "hello"), "completed")


def test_a_wrong_key_is_refused_with_the_reason(visit: Callable[..., Page], server: Served) -> None:
    page = visit(f"{server.url}/#key=sluice_live_00000000_wrong")
    expect(page.get_by_role("dialog", name="Enter a key")).to_be_visible()
    expect(page.locator("#key-fault")).not_to_be_empty()
    page.get_by_role("button", name="Not now").click()
    expect(page.locator("#status")).to_have_text("Key needed")
    page.locator("#status").click()
    page.get_by_label("Key", exact=True).fill(KEY)
    page.get_by_role("button", name="Connect").click()
    page.locator('#status[data-light="on"]').wait_for()


def test_a_revoked_key_is_told_and_another_one_goes_on(visit: Callable[..., Page], server: Served) -> None:
    key = next(word for word in server.keys("create", "short-lived").split() if word.startswith("sluice_"))
    page = visit(f"{server.url}/#key={key}")
    page.locator('#status[data-light="on"]').wait_for()
    has_ended(ask(page, "still trusted"), "completed")
    listed = next(line for line in server.keys("list").splitlines() if "short-lived" in line)
    server.keys("revoke", listed.split()[0])
    turn = ask(page, "no longer")
    expect(turn.locator(".notice")).not_to_be_empty()
    expect(page.get_by_role("dialog", name="Enter a key")).to_be_visible()
    page.get_by_label("Key", exact=True).fill(KEY)
    page.keyboard.press("Enter")
    page.locator('#status[data-light="on"]').wait_for()
    turn.locator(".notice").get_by_role("button", name="Try again").click()
    has_ended(page.locator(".turn").last, "completed")


def test_a_message_that_waits_for_its_turn_says_so(visit: Callable[..., Page], tmp_path: Path) -> None:
    one_at_a_time = {"SLUICE_SCRIPTED_MAX_RUNNING": "1", "SLUICE_SCRIPTED_TOKENS_PER_S": "100"}
    with served(tmp_path, **one_at_a_time) as server:
        pages = [visit(f"{server.url}/#key={KEY}") for _ in range(2)]
        for page in pages:
            page.locator('#status[data-light="on"]').wait_for()
        first = say(pages[0], words(3000))
        expect(first).to_have_attribute("data-state", "writing")
        second = say(pages[1], "my turn")
        expect(second).to_have_attribute("data-state", "queued")
        expect(second.locator(".waiting")).to_have_text("Waiting for its turn…")
        pages[0].keyboard.press("Escape")
        has_ended(first, "stopped")
        has_ended(second, "completed")


def test_a_restarted_server_is_found_again_and_nothing_is_lost(
    visit: Callable[..., Page], tmp_path: Path
) -> None:
    with served(tmp_path, SLUICE_SCRIPTED_TOKENS_PER_S="100", SLUICE_DRAIN_GRACE_S="0") as server:
        page = visit(f"{server.url}/#key={KEY}")
        page.locator('#status[data-light="on"]').wait_for()
        has_ended(ask(page, "before the restart"), "completed")
        turn = say(page, words(3000))
        expect(reply(turn)).to_contain_text("word3")
        server.stop()
        page.locator('#status[data-light="busy"]').wait_for()
        expect(turn).to_have_attribute("aria-busy", "false")
        expect(reply(turn)).to_contain_text("word3")
        expect(turn.locator(".notice").get_by_role("button", name="Try again")).to_be_visible()
        page.get_by_label("Message", exact=True).fill("typed while away")
        page.keyboard.press("Enter")
        expect(page.locator("#hint")).to_contain_text("Not connected")
        expect(page.get_by_label("Message", exact=True)).to_have_value("typed while away")
        server.start()
        page.locator('#status[data-light="on"]').wait_for()
        page.keyboard.press("Enter")
        last = page.locator(".turn").last
        expect(last.locator(".question")).to_have_text("typed while away")
        has_ended(last, "completed")
        assert reply(last).inner_text() == "typed while away"
