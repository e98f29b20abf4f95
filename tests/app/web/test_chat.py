"""Chatting in a real browser with the real server: what a user sees of a turn, however it ends."""

from __future__ import annotations

import json
import urllib.request

import pytest
from playwright.sync_api import Page, expect

from tests.app.web.serving import KEY, Served
from tests.app.web.talk import ask, figures, frames_of, has_ended, reply, say, words

pytestmark = pytest.mark.browser

LONG = words(3000)  # half a minute of reply: always stopped by the test
TABLE = "| Town | People |\n|:-----|-------:|\n| **Oslo** | 709,000 |\n| Bergen | 291,000 |"


def test_a_turn_streams_and_shows_its_figures(page: Page) -> None:
    heard = frames_of(page, "framereceived")
    text = words(60)
    turn = say(page, text)
    expect(turn).to_have_attribute("data-state", "writing")
    expect(reply(turn)).not_to_be_empty()
    assert text.startswith(reply(turn).inner_text().strip())
    has_ended(turn, "completed")
    assert reply(turn).inner_text() == text
    shown = figures(turn)
    assert set(shown) == {"first token", "tokens/s", "in", "cached", "out", "total"}
    usage = heard[-1]["response"]["usage"]
    assert int(shown["out"]) == usage["output_tokens"] >= 60
    assert int(shown["in"]) == usage["input_tokens"] > 0
    assert float(shown["tokens/s"]) > 0
    assert shown["first token"].endswith((" ms", " s"))


def test_a_reply_knows_what_was_said_before(page: Page) -> None:
    first = figures(ask(page, "one two three"))
    second = figures(ask(page, "four five six"))
    assert int(second["in"]) > int(first["in"])


def test_escape_stops_a_reply_and_the_chat_goes_on(page: Page) -> None:
    turn = say(page, LONG)
    expect(reply(turn)).to_contain_text("word3")
    page.keyboard.press("Escape")
    has_ended(turn, "stopped")
    text = reply(turn).inner_text()
    assert LONG.startswith(text)
    assert len(text) < len(LONG)
    expect(turn.locator(".notice")).to_have_text("Stopped.")
    assert reply(ask(page, "and on it goes")).inner_text() == "and on it goes"


def test_what_is_sent_too_early_stays_with_a_word_about_why(page: Page) -> None:
    turn = say(page, LONG)
    expect(reply(turn)).to_contain_text("word3")
    field = page.get_by_label("Message", exact=True)
    field.fill("too early")
    page.keyboard.press("Enter")
    hint = page.locator("#hint")
    expect(hint).to_contain_text("Press Escape to stop it")
    expect(reply(turn)).to_contain_text("word60")
    expect(hint).to_contain_text("Press Escape to stop it")
    expect(field).to_have_value("too early")
    page.keyboard.press("Escape")
    has_ended(turn, "stopped")
    expect(hint).not_to_contain_text("Press Escape to stop it")


def test_the_stop_button_stops_and_gives_the_box_back(page: Page) -> None:
    turn = say(page, LONG)
    page.get_by_role("button", name="Stop").click()
    has_ended(turn, "stopped")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


def test_regenerate_puts_another_reply_beside_the_first(page: Page) -> None:
    ask(page, "before")
    turn = ask(page, "say it again")
    turn.get_by_role("button", name="Regenerate").click()
    again = page.locator(".turn").last
    expect(again.locator(".branch")).to_have_text("2/2")
    has_ended(again, "completed")
    expect(page.locator(".turn")).to_have_count(2)
    again.get_by_role("button", name="Earlier alternative").click()
    expect(page.locator(".turn").last.locator(".branch")).to_have_text("1/2")
    expect(reply(page.locator(".turn").last)).to_have_text("say it again")


def test_an_edited_message_is_asked_in_the_place_of_the_old_one(page: Page) -> None:
    turn = ask(page, "the first wording")
    input_tokens = figures(turn)["in"]
    turn.hover()
    turn.get_by_role("button", name="Edit the message").click()
    page.get_by_role("textbox", name="Edit the message").fill("a second wording")
    page.keyboard.press("Enter")
    edited = page.locator(".turn").last
    expect(edited.locator(".question")).to_have_text("a second wording")
    has_ended(edited, "completed")
    assert reply(edited).inner_text() == "a second wording"
    assert figures(edited)["in"] == input_tokens  # forked: the first wording is no part of its context


def test_a_cut_is_shown_with_its_reason_and_without_the_text(page: Page) -> None:
    turn = ask(page, "this holds a forbidden phrase and then goes on")
    has_ended(turn, "cut")
    assert reply(turn).inner_text().strip() == "this holds a"
    notice = turn.locator(".notice")
    expect(notice).to_contain_text("cut by the policy")
    expect(notice).to_contain_text("custom/example")
    expect(notice).to_contain_text("2026-11-22")
    expect(notice).to_contain_text("will not help")
    expect(turn.get_by_role("button", name="Regenerate")).to_be_hidden()
    assert reply(ask(page, "after the cut")).inner_text() == "after the cut"


def test_a_refused_message_is_kept_and_can_be_changed(page: Page) -> None:
    turn = ask(page, "an unspeakable question")
    has_ended(turn, "refused")
    expect(turn.locator(".question")).to_have_text("an unspeakable question")
    expect(turn.locator(".notice")).to_contain_text("refused by the policy")
    turn.locator(".notice").get_by_role("button", name="Edit the message").click()
    editor = page.get_by_role("textbox", name="Edit the message")
    expect(editor).to_have_value("an unspeakable question")
    editor.fill("a speakable one")
    page.keyboard.press("Enter")
    answered = page.locator(".turn").last
    has_ended(answered, "completed")
    expect(page.locator(".turn")).to_have_count(1)


def test_a_reply_at_its_limit_says_so(page: Page) -> None:
    page.get_by_label("Max output tokens").fill("3")
    turn = ask(page, words(10))
    has_ended(turn, "limit")
    expect(turn.locator(".notice")).to_contain_text("limit of 3 output tokens")
    assert figures(turn)["out"] == "3"


def test_markup_in_a_message_or_a_reply_is_only_text(page: Page) -> None:
    attempt = '<img src="x" onerror="window.harmed = true"><script>window.harmed = true</script>'
    turn = ask(page, attempt)
    assert turn.locator(".question").inner_text() == attempt
    assert reply(turn).inner_text() == attempt
    assert turn.locator("img, script").count() == 0
    assert page.evaluate("window.harmed") is None


def test_markdown_in_a_reply_is_laid_out(page: Page) -> None:
    turn = ask(page, "Some **bold** words and `code`.\n\n- first\n- second\n\n```js\nlet one = 1 < 2;\n```")
    assert reply(turn).locator("strong").inner_text() == "bold"
    assert reply(turn).locator("p code").inner_text() == "code"
    assert reply(turn).locator("li").all_inner_texts() == ["first", "second"]
    assert reply(turn).locator("pre").inner_text() == "let one = 1 < 2;"


def test_a_table_in_a_reply_is_laid_out(page: Page) -> None:
    turn = ask(page, f"Two towns:\n\n{TABLE}\n\nThat is all.")
    assert reply(turn).locator("th").all_inner_texts() == ["Town", "People"]
    assert reply(turn).locator("tbody tr").all_inner_texts() == ["Oslo\t709,000", "Bergen\t291,000"]
    assert reply(turn).locator("td").nth(1).evaluate("(node) => getComputedStyle(node).textAlign") == "end"
    expect(turn.get_by_role("region", name="Table")).to_be_visible()


def test_a_conversation_the_server_has_lost_can_be_sent_again(page: Page, server: Served) -> None:
    has_ended(ask(page, "remember this"), "completed")
    saved = json.loads(
        page.evaluate("dispatchEvent(new Event('pagehide')), sessionStorage['sluice.conversation']")
    )
    _delete(f"{server.url}/v1/responses/{saved['turns'][-1]['responseId']}")
    turn = ask(page, "what was it?")
    has_ended(turn, "refused")
    expect(turn.locator(".notice")).to_contain_text("no longer has the earlier part")
    turn.get_by_role("button", name="Resend the whole conversation").click()
    again = page.locator(".turn").last
    has_ended(again, "completed")
    expect(page.locator(".turn")).to_have_count(2)
    assert reply(again).inner_text() == "what was it?"
    alone = figures(page.locator(".turn").first)["in"]
    assert int(figures(again)["in"]) > int(alone)


def test_a_new_chat_forgets_the_old_one(page: Page) -> None:
    first = figures(ask(page, "one two three"))
    page.get_by_role("button", name="New chat").click()
    expect(page.locator(".turn")).to_have_count(0)
    assert figures(ask(page, "one two three"))["in"] == first["in"]


def test_a_new_chat_in_the_middle_of_a_reply_hears_nothing_of_it(page: Page) -> None:
    say(page, LONG)
    page.get_by_role("button", name="New chat").click()
    turn = ask(page, "something else")
    has_ended(turn, "completed")
    assert reply(turn).inner_text() == "something else"


def test_a_reload_keeps_the_conversation_and_what_was_typed(page: Page) -> None:
    first = figures(ask(page, "remember me"))
    page.get_by_label("Message", exact=True).fill("half a sen")
    page.reload()
    page.locator('#status[data-light="on"]').wait_for()
    expect(page.get_by_label("Message", exact=True)).to_have_value("half a sen")
    expect(reply(page.locator(".turn").first)).to_have_text("remember me")
    assert int(figures(ask(page, "and now?"))["in"]) > int(first["in"])


def test_the_reply_is_read_out_by_sentences(page: Page) -> None:
    ask(page, "A first sentence. A second one")
    said = page.locator("#announcements p").all_inner_texts()
    assert " ".join(text.strip() for text in said) == "A first sentence. A second one End of the reply."


def _delete(url: str) -> None:
    request = urllib.request.Request(url, method="DELETE", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
