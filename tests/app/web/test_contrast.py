"""Whether the page can be read: WCAG AA, computed from the colours that the browser gives each element."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.app.web.functions import CALL, WEATHER
from tests.app.web.serving import KEY, Served
from tests.app.web.talk import ask, has_ended, say, words

pytestmark = pytest.mark.browser

FAULTS = Path(__file__).with_name("contrast.js").read_text()
RICH = (
    "## Title\n\n**bold** [link](https://example.org) `code` ~~gone~~\n\n> quoted\n\n"
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\ncode\n```"
)


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, visit: Callable[..., Page], server: Served) -> Page:
    page = visit(f"{server.url}/#key={KEY}", color_scheme=request.param, reduced_motion="reduce")
    page.locator('#status[data-light="on"]').wait_for()
    return page


def test_every_way_a_turn_can_stand_is_legible(page: Page) -> None:
    assert page.evaluate(FAULTS) == []
    has_ended(ask(page, RICH), "completed")
    has_ended(ask(page, "this holds a forbidden phrase"), "cut")
    has_ended(ask(page, "an unspeakable question"), "refused")
    page.get_by_label("Functions").fill(json.dumps([WEATHER]))
    expect(ask(page, CALL).get_by_role("button", name="Send the result")).to_be_visible()
    page.get_by_label("Max output tokens").fill("3")
    has_ended(ask(page, words(10)), "limit")
    page.get_by_label("Max output tokens").fill("0")
    expect(page.locator("#max_output_tokens-about")).to_have_class("wrong")
    running = say(page, words(3000))
    expect(running).to_have_attribute("data-state", "writing")
    page.get_by_label("Message", exact=True).fill("too early")
    page.keyboard.press("Enter")
    expect(page.locator("#hint")).to_have_attribute("data-tone", "warning")
    assert page.evaluate(FAULTS) == []
    page.keyboard.press("Escape")
    has_ended(running, "stopped")
    page.locator(".question").last.hover()
    page.get_by_role("button", name="Edit the message").last.click()
    assert page.evaluate(FAULTS) == []


def test_bad_news_and_the_key_dialog_are_legible(page: Page, server: Served) -> None:
    page.context.set_offline(True)
    page.route("**/v1/**", lambda route: route.abort())
    page.evaluate("location.hash = '#key=another'")
    expect(page.locator("#banner")).to_be_visible()
    assert page.evaluate(FAULTS) == []
    page.unroute_all()
    page.context.set_offline(False)
    expect(page.get_by_role("dialog", name="Enter a key")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("#key-fault")).to_be_visible()
    assert page.evaluate(FAULTS) == []


def test_nothing_moves_for_those_who_ask_for_that(page: Page) -> None:
    say(page, words(3000))
    expect(page.locator(".turn").last).to_have_attribute("data-state", "writing")
    assert page.evaluate("document.getAnimations({ subtree: true }).length") == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate("document.getAnimations({ subtree: true }).length") > 0
    page.keyboard.press("Escape")
    has_ended(page.locator(".turn").last, "stopped")


def test_a_ground_that_is_too_near_is_found(page: Page) -> None:
    page.evaluate("document.documentElement.style.setProperty('--muted', 'var(--ground)')")
    assert any(fault.startswith("text") for fault in page.evaluate(FAULTS))
