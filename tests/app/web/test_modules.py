"""The page's pure modules, each run in the browser on data: Markdown, conversation, notices, figures, backoff."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.app.web.serving import Served

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(browser: Browser, server: Served) -> Page:
    """One page for all: the modules keep nothing between calls."""
    page = browser.new_page()
    page.goto(server.url)
    return page


def _call(page: Page, module: str, body: str, argument: object = None) -> Any:
    """The value of `body`, a JavaScript function of (module, argument)."""
    return page.evaluate(f"async (argument) => ({body})(await import('/{module}'), argument)", argument)


def _kinds(page: Page, text: str) -> list[str]:
    found = _call(page, "markdown.js", "(m, text) => m.blocks(text).map(({ kind }) => kind)", text)
    return list(found)


def _spans(page: Page, text: str) -> Any:
    body = """(m, text) => {
        const one = (span) => (span.spans ? [span.kind, ...flat(span.spans)] : [span.kind, span.text]);
        const flat = (spans) => spans.map(one);
        return flat(m.spans(text));
    }"""
    return _call(page, "markdown.js", body, text)


@pytest.mark.parametrize(
    ("fields", "defaults", "asked"),
    [
        ({"seed": 1}, {"temperature": 1}, {"seed": 7}),
        ({"temperature": 0.3}, {"temperature": 1}, {"temperature": 0.3, "seed": 7}),
        ({"temperature": 0, "top_k": 4}, {"temperature": 1}, {"temperature": 0.7, "top_k": 4, "seed": 7}),
        ({}, {"temperature": 0}, {"temperature": 0.7, "seed": 7}),
        ({}, {}, {"seed": 7}),
    ],
)
def test_another_reply_to_the_same_is_left_to_chance(
    page: Page, fields: dict[str, float], defaults: dict[str, float], asked: dict[str, float]
) -> None:
    body = "(m, [fields, defaults]) => m.varied(fields, defaults, 7)"
    assert _call(page, "settings.js", body, [fields, defaults]) == asked


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("", []),
        ("one\ntwo\n\nthree", ["paragraph", "paragraph"]),
        ("# Title\ntext\n- item", ["heading", "paragraph", "list"]),
        ("```\nnot # a heading\n\n- nor a list", ["code"]),
        ("~~~py\na\n~~~\n> quoted\n> more\n---", ["code", "quote", "rule"]),
        ("1. one\n\n2. two\n   more of two\nafter", ["list", "paragraph"]),
    ],
)
def test_blocks_of_a_text(page: Page, text: str, kinds: list[str]) -> None:
    assert _kinds(page, text) == kinds


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("plain", [["text", "plain"]]),
        ("a **b** c", [["text", "a "], ["strong", ["text", "b"]], ["text", " c"]]),
        ("**b *c* d**", [["strong", ["text", "b "], ["em", ["text", "c"]], ["text", " d"]]]),
        ("2 * 3 * 4 and a*b*c", [["text", "2 * 3 * 4 and a*b*c"]]),
        ("`**x**` **open", [["code", "**x**"], ["text", " **open"]]),
        ("[a](https://example.org) <b>", [["text", "[a](https://example.org) <b>"]]),
    ],
)
def test_spans_of_a_paragraph(page: Page, text: str, spans: list[object]) -> None:
    assert _spans(page, text) == spans


@pytest.mark.parametrize(
    "text", ["*a " * 50_000, "`" * 50_001, "**" * 50_000, "> " * 50_000, "- a\n" * 20_000]
)
def test_hostile_markdown_is_read_in_linear_time(page: Page, text: str) -> None:
    """Quadratic work on these would run past the test's own time limit by far."""
    assert (
        _call(
            page,
            "markdown.js",
            "(m, t) => m.blocks(t).map(({ text }) => m.spans(text ?? '').length).length",
            text,
        )
        > 0
    )


def test_no_character_of_a_growing_text_is_lost(page: Page) -> None:
    text = "# A *b\n\n- c **d** `e\n  f\n\n```js\ng\n```\n> h\n\ni"
    body = """(m, text) => {
        const root = document.createElement("div");
        const view = new m.MarkdownView(root);
        for (let end = 0; end <= text.length; end++) view.show(text.slice(0, end));
        const grown = root.innerHTML;
        const whole = document.createElement("div");
        new m.MarkdownView(whole).show(text);
        return [grown, whole.innerHTML];
    }"""
    grown, whole = _call(page, "markdown-view.js", body, text)
    assert grown == whole


def test_the_context_goes_back_to_the_last_response_the_server_has(page: Page) -> None:
    body = """(m) => {
        const conversation = new m.Conversation();
        const end = (turn, more) => conversation.put({ ...turn, state: "completed", ...more });
        const first = conversation.add(null, "one", 0);
        end(first, { responseId: "resp_1", reply: "uno" });
        const second = conversation.add(first.id, "two", 0);
        end(second, { state: "interrupted", responseId: "resp_2", reply: "do" });
        const third = conversation.add(second.id, "three", 0);
        end(third, { state: "refused" });
        const last = conversation.add(third.id, "four", 0);
        const before = conversation.context(last);
        conversation.forgetResponsesBefore(last);
        return [before, conversation.context(last)];
    }"""
    before, after = _call(page, "conversation.js", body)

    def said(context: dict[str, Any]) -> list[tuple[str, str]]:
        return [(item["role"], item["content"]) for item in context["input"]]

    since = [("user", "two"), ("assistant", "do"), ("user", "four")]
    assert before["previous_response_id"] == "resp_1"
    assert said(before) == since
    assert "previous_response_id" not in after
    assert said(after) == [("user", "one"), ("assistant", "uno"), *since]


def test_a_turn_that_was_running_when_saved_has_lost_its_socket(page: Page) -> None:
    body = """(m) => {
        const conversation = new m.Conversation();
        conversation.add(null, "one", 0);
        const restored = m.Conversation.restore(JSON.parse(JSON.stringify(conversation.save())), 1);
        return [restored.leaf.state, restored.add(1, "two", 2).id];
    }"""
    assert _call(page, "conversation.js", body) == ["interrupted", 2]


def test_a_shortened_text_takes_back_what_was_shown(page: Page) -> None:
    body = """(m) => {
        const response = { id: "resp_1", model: "m", status: "incomplete", output: [], usage: null,
            incomplete_details: { reason: "content_filter", category: "pii" } };
        let turn = m.newTurn(1, null, "hi", 0);
        for (const event of [
            { type: "response.created", response },
            { type: "response.output_text.delta", delta: "far too " },
            { type: "response.output_text.delta", delta: "much" },
            { type: "response.output_text.done", text: "far" },
        ]) turn = m.afterEvent(turn, event, 5);
        const shortened = turn.reply;
        turn = m.afterEvent(turn, { type: "response.incomplete", response }, 9);
        return [shortened, turn.reply, turn.state, turn.problem.category];
    }"""
    assert _call(page, "turn.js", body) == ["far", "", "cut", "pii"]


@pytest.mark.parametrize(
    ("state", "problem", "words"),
    [
        (
            "refused",
            {"code": "context_length_exceeded", "message": "8,200 of 8,192."},
            ["too long", "8,200", "Start a new chat"],
        ),
        ("refused", {"code": "rate_limit_exceeded", "message": "", "retryAfterS": 2.4}, ["Wait 3 s"]),
        ("refused", {"code": "revoked_api_key", "message": ""}, ["no longer counts"]),
        ("refused", {"code": "never_heard_of", "message": "Told so."}, ["Told so."]),
        ("failed", {"code": "model_error", "message": "It broke."}, ["It broke."]),
        ("interrupted", {"code": "connection_lost", "message": ""}, ["connection was lost"]),
        ("stopped", {"code": "stopped_by_server", "message": ""}, ["server stopped this reply"]),
        ("limit", None, ["limit of output tokens"]),
    ],
)
def test_every_bad_end_is_told_with_a_way_out(
    page: Page, state: str, problem: dict[str, Any] | None, words: list[str]
) -> None:
    turn = {"state": state, "problem": problem, "reply": "", "limit": None}
    said = _call(page, "notices.js", "(m, turn) => m.notice(turn)", turn)
    assert all(word in f"{said['title']} {said['text']}" for word in words)
    assert said["actions"] != []


def test_only_a_reply_that_simply_ended_needs_no_words(page: Page) -> None:
    turn = {"state": "completed", "reply": "text"}
    assert _call(page, "notices.js", "(m, turn) => m.notice(turn)", turn) is None
    turn["reply"] = ""
    assert "without any text" in _call(page, "notices.js", "(m, turn) => m.notice(turn)", turn)["title"]


@pytest.mark.parametrize(
    ("ms", "shown"),
    [(0, "< 1 ms"), (84.4, "84 ms"), (3_210, "3.21 s"), (45_600, "45.6 s"), (61_000, "1 min 1 s")],
)
def test_durations_read_well(page: Page, ms: float, shown: str) -> None:
    assert _call(page, "figures.js", "(m, ms) => m.duration(ms)", ms) == shown


@pytest.mark.parametrize(
    ("code", "open_ms", "limit_reached", "step"),
    [
        (1012, 10, False, "retry"),
        (1006, 0, False, "retry"),
        (1008, 10, False, "key"),
        (1008, 60_000, False, "retry"),
        (1000, 10, False, "stop"),
        (1000, 10, True, "retry"),
        (1007, 10, False, "stop"),
    ],
)
def test_what_follows_a_close(page: Page, code: int, open_ms: int, limit_reached: bool, step: str) -> None:
    body = "(m, [code, openMs, reached]) => m.afterClose(code, openMs, reached)"
    assert _call(page, "backoff.js", body, [code, open_ms, limit_reached]) == step


@pytest.mark.parametrize(
    ("status", "step"),
    [(0, "retry"), (401, "key"), (403, "key"), (429, "retry"), (503, "retry"), (404, "stop")],
)
def test_what_follows_a_refused_exchange(page: Page, status: int, step: str) -> None:
    assert _call(page, "backoff.js", "(m, status) => m.afterExchange(status)", status) == step


def test_waits_grow_to_a_bound(page: Page) -> None:
    body = "(m) => [0, 1, 2, 60].flatMap((attempt) => [0, 1].map((chance) => m.delayMs(attempt, chance)))"
    assert _call(page, "backoff.js", body) == [200, 400, 400, 800, 800, 1600, 7500, 15000]
