"""What a chat is asked with: settings, and functions whose calls the user answers."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from tests.app.web.functions import CALL, WEATHER
from tests.app.web.talk import ask, frames_of, has_ended, reply

pytestmark = pytest.mark.browser


def test_empty_fields_show_what_counts(page: Page) -> None:
    expect(page.get_by_label("Temperature")).to_have_attribute("placeholder", "1")
    expect(page.get_by_label("Top K")).to_have_attribute("placeholder", "0")
    expect(page.get_by_label("Seed")).to_have_attribute("placeholder", "random")


def test_a_call_is_shown_and_answered(page: Page) -> None:
    sent = frames_of(page, "framesent")
    page.get_by_label("Functions").fill(json.dumps([WEATHER]))
    turn = ask(page, f"Let me see. {CALL}")
    has_ended(turn, "completed")
    assert reply(turn).inner_text() == "Let me see."
    expect(turn.locator(".call figcaption")).to_have_text("Calls weather")
    assert json.loads(turn.locator(".call code").inner_text()) == {"city": "Rome"}
    turn.get_by_role("textbox", name="What weather gave").fill("22 degrees")
    turn.get_by_role("button", name="Send the result").click()
    answered = page.locator(".turn").last
    expect(answered.locator(".question")).to_have_text("22 degrees")
    has_ended(answered, "completed")
    expect(turn.first.get_by_role("button", name="Send the result")).to_be_hidden()
    (output,) = sent[-1]["input"]
    assert sent[0]["tools"] == [WEATHER]
    assert (output["type"], output["output"]) == ("function_call_output", "22 degrees")
    page.reload()
    expect(page.locator(".call figcaption")).to_have_text("Calls weather")


def test_functions_that_are_none_are_named_and_not_sent(page: Page) -> None:
    sent = frames_of(page, "framesent")
    for text, fault in (("[", "no JSON"), ("{}", "JSON array")):
        page.get_by_label("Functions").fill(text)
        expect(page.locator("#tools-about")).to_contain_text(fault)
    has_ended(ask(page, "hello"), "completed")
    assert "tools" not in sent[-1]


def test_settings_reach_the_server(page: Page) -> None:
    sent = frames_of(page, "framesent")
    page.get_by_label("System prompt").fill("Answer in one word.")
    for label, value in (("Temperature", "0.5"), ("Top P", "0.9"), ("Top K", "40"), ("Min P", "0.05")):
        page.get_by_label(label).fill(value)
    page.get_by_label("Seed").fill("7")
    has_ended(ask(page, "hello"), "completed")
    create = sent[-1]
    assert create["instructions"] == "Answer in one word."
    assert [create[name] for name in ("temperature", "top_p", "top_k", "min_p", "seed")] == [
        0.5,
        0.9,
        40,
        0.05,
        7,
    ]
    assert "max_output_tokens" not in create


def test_a_setting_out_of_bounds_is_named_and_not_sent(page: Page) -> None:
    page.get_by_label("Temperature").fill("3")
    expect(page.locator("#temperature-about")).to_contain_text("must be between 0 and 2")
    has_ended(ask(page, "hello"), "completed")
