"""The page itself: its looks, its use by keyboard and on a phone, and what it may load."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.app.web.conftest import WATCH
from tests.app.web.serving import KEY, Served
from tests.app.web.talk import ask, has_ended, say, words

pytestmark = pytest.mark.browser

WEB = Path(__file__).resolve().parents[3] / "app" / "web"
GROUND = "getComputedStyle(document.documentElement).backgroundColor"
PHONE = {"viewport": {"width": 360, "height": 640}, "is_mobile": True, "has_touch": True}
UNBROKEN = "an_unbroken_word_" * 20 + "\n\n```\n" + "code " * 80 + "\n```"


def test_it_is_light_or_dark_as_the_system_is(page: Page) -> None:
    page.emulate_media(color_scheme="light")
    light = page.evaluate(GROUND)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(GROUND) != light


def test_the_chosen_colours_outlive_a_reload(page: Page) -> None:
    page.emulate_media(color_scheme="light")
    light = page.evaluate(GROUND)
    toggle = page.locator("#theme")
    toggle.click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    toggle.click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    dark = page.evaluate(GROUND)
    assert dark != light
    page.reload()
    assert page.evaluate(GROUND) == dark
    toggle.click()
    assert page.evaluate(GROUND) == light


def test_a_whole_turn_needs_the_keyboard_only(page: Page) -> None:
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    page.keyboard.type("first line")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second line")
    expect(page.get_by_label("Message", exact=True)).to_have_value("first line\nsecond line")
    page.keyboard.press("Enter")
    turn = page.locator(".turn").last
    has_ended(turn, "completed")
    _tab_to(page, "Regenerate", back=True)
    page.keyboard.press("Enter")
    expect(page.locator(".turn .branch")).to_have_text("2/2")
    has_ended(page.locator(".turn").last, "completed")
    _tab_to(page, "Settings")
    page.keyboard.press("Enter")
    expect(page.locator("#settings")).to_be_hidden()


def test_the_first_tab_stop_leads_to_the_message_box(page: Page) -> None:
    page.evaluate("document.body.tabIndex = -1, document.body.focus()")
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    expect(focused).to_have_text("Skip to the message box")
    expect(focused).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


def test_every_button_and_field_has_a_name(page: Page) -> None:
    ask(page, "hello `code`\n\n```\ncode\n```")
    nameless = page.evaluate("""[...document.querySelectorAll("button, input, select, textarea")]
        .filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim() || node.labels?.length))
        .map((node) => node.outerHTML)""")
    assert nameless == []


@pytest.mark.parametrize("width", [360, 320])
def test_a_phone_scrolls_in_one_direction_only(
    visit: Callable[..., Page], server: Served, width: int
) -> None:
    page = visit(f"{server.url}/#key={KEY}", **PHONE | {"viewport": {"width": width, "height": 640}})
    page.locator('#status[data-light="on"]').wait_for()
    assert _overflow(page) <= 0
    ask(page, UNBROKEN)
    ask(page, "this holds a forbidden phrase")
    assert _overflow(page) <= 0
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_role("dialog", name="Settings")).to_be_in_viewport()
    assert _overflow(page) <= 0
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_role("button", name="Close the settings").click()
    expect(page.get_by_label("Message", exact=True)).to_be_in_viewport()


def test_a_small_window_opens_at_the_beginning(visit: Callable[..., Page], server: Served) -> None:
    page = visit(f"{server.url}/#key={KEY}", **PHONE | {"viewport": {"width": 320, "height": 420}})
    page.locator('#status[data-light="on"]').wait_for()
    assert page.locator("#transcript").evaluate(
        "(node) => [node.scrollTop, node.scrollHeight > node.clientHeight]"
    ) == [0, True]
    expect(page.get_by_role("heading", name="What shall we talk about?")).to_be_in_viewport()
    expect(page.get_by_role("button", name="Latest")).to_be_hidden()


def test_the_answering_models_name_is_there_in_full(page: Page) -> None:
    about = page.locator("#answering")
    expect(about).to_have_text("Answered by scripted.")
    page.get_by_label("Model", exact=True).select_option("scripted")
    expect(about).to_have_text("Answered by scripted.")
    assert about.evaluate("(node) => node.scrollWidth <= node.clientWidth")


def test_a_reader_who_scrolled_up_is_left_in_peace(page: Page) -> None:
    ask(page, "\n\n".join(words(3) for _ in range(60)))
    say(page, words(3000))
    transcript = page.locator("#transcript")
    transcript.hover()
    page.mouse.wheel(0, -900)
    jump = page.get_by_role("button", name="Latest")
    expect(jump).to_be_visible()
    jump.click()
    expect(jump).to_be_hidden()
    page.keyboard.press("Escape")
    has_ended(page.locator(".turn").last, "stopped")


def test_the_policy_of_the_page_forbids_inline_code_and_foreign_sources(
    browser: Browser, server: Served
) -> None:
    page = browser.new_page()  # not `visit`: this one is harmed on purpose
    page.add_init_script(WATCH)
    answer = page.goto(server.url)
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    page.evaluate("document.body.setAttribute('style', 'color: red')")
    page.evaluate("fetch('http://elsewhere.invalid/').catch(() => null)")
    page.wait_for_function("window.violations.length > 1")
    refused = {violation.partition(":")[0] for violation in page.evaluate("window.violations")}
    page.close()
    assert refused == {"style-src-attr", "connect-src"}


def test_the_files_name_no_foreign_place_and_carry_no_inline_code() -> None:
    html = (WEB / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", html)
    for file in WEB.iterdir():
        foreign = re.findall(r"https?://(?!www\.w3\.org/2000/svg)[^\s\"')]+", file.read_text())
        assert foreign == [], file.name


def _overflow(page: Page) -> int:
    """Pixels that stick out of the window sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


def _tab_to(page: Page, name: str, back: bool = False) -> None:
    wanted = page.get_by_role("button", name=name, exact=True).last
    for _ in range(40):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        if wanted.evaluate("(node) => node === document.activeElement"):
            return
    raise AssertionError(f"{name} cannot be reached by Tab")
