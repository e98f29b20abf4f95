"""The page's pure modules, each run in the browser on data: conversation, notices, figures, backoff."""

from __future__ import annotations

from typing import Any

import pytest

from tests.app.web.modules import Modules

pytestmark = pytest.mark.browser


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
    modules: Modules, fields: dict[str, float], defaults: dict[str, float], asked: dict[str, float]
) -> None:
    body = "(m, [fields, defaults]) => m.varied(fields, defaults, 7)"
    assert modules.call("settings.js", body, [fields, defaults]) == asked


def test_the_context_goes_back_to_the_last_response_the_server_has(modules: Modules) -> None:
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
    before, after = modules.call("conversation.js", body)

    def said(context: dict[str, Any]) -> list[tuple[str, str]]:
        return [(item["role"], item["content"]) for item in context["input"]]

    since = [("user", "two"), ("assistant", "do"), ("user", "four")]
    assert before["previous_response_id"] == "resp_1"
    assert said(before) == since
    assert "previous_response_id" not in after
    assert said(after) == [("user", "one"), ("assistant", "uno"), *since]


def test_calls_and_their_results_are_told_to_a_server_that_has_lost_them(modules: Modules) -> None:
    body = """(m) => {
        const conversation = new m.Conversation();
        const named = { type: "function_call", id: "fc_1", call_id: "call_1", name: "f" };
        const call = { ...named, arguments: "{}", status: "completed" };
        const first = conversation.add(null, "one", 0);
        const cut = { ...call, call_id: "call_2", status: "incomplete" };
        conversation.put({ ...first, state: "failed", calls: [call, cut] });
        return conversation.context(conversation.add(first.id, "2", 0, [{ call_id: "call_1", output: "2" }])).input;
    }"""
    asked, call, output = modules.call("conversation.js", body)
    assert asked["content"] == "one"
    assert call == {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
    assert output == {"type": "function_call_output", "call_id": "call_1", "output": "2"}


def test_a_call_grows_by_its_own_deltas_and_ends_as_the_server_says(modules: Modules) -> None:
    body = """(m) => {
        const named = { type: "function_call", id: "fc_1", call_id: "c", name: "f" };
        const item = { ...named, arguments: "", status: "in_progress" };
        const delta = (id, delta) => ({ type: "response.function_call_arguments.delta", item_id: id, delta });
        const events = [
            { type: "response.output_item.added", item: { type: "message", content: [] } },
            { type: "response.output_item.added", item },
            delta("fc_1", "{"), delta("another", "x"), delta("fc_1", "}"),
        ];
        const turn = events.reduce((turn, event) => m.afterEvent(turn, event, 5), m.newTurn(1, null, "hi", 0));
        const output = [{ ...item, arguments: "{}", status: "completed" }];
        const response = { status: "completed", output, usage: null };
        const ended = m.afterEvent(turn, { type: "response.completed", response }, 9);
        return [turn.calls, turn.state, turn.firstAt, ended.calls];
    }"""
    (growing,), state, first_at, (ended,) = modules.call("turn.js", body)
    assert (growing["arguments"], growing["status"], state, first_at) == ("{}", "in_progress", "writing", 5)
    assert ended["status"] == "completed"


def test_a_turn_that_was_running_when_saved_has_lost_its_socket(modules: Modules) -> None:
    body = """(m) => {
        const conversation = new m.Conversation();
        conversation.add(null, "one", 0);
        const restored = m.Conversation.restore(JSON.parse(JSON.stringify(conversation.save())), 1);
        return [restored.leaf.state, restored.add(1, "two", 2).id];
    }"""
    assert modules.call("conversation.js", body) == ["interrupted", 2]


def test_a_shortened_text_takes_back_what_was_shown(modules: Modules) -> None:
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
    assert modules.call("turn.js", body) == ["far", "", "cut", "pii"]


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
    modules: Modules, state: str, problem: dict[str, Any] | None, words: list[str]
) -> None:
    turn = {"state": state, "problem": problem, "reply": "", "limit": None}
    said = modules.call("notices.js", "(m, turn) => m.notice(turn)", turn)
    assert all(word in f"{said['title']} {said['text']}" for word in words)
    assert said["actions"] != []


def test_only_a_reply_that_simply_ended_needs_no_words(modules: Modules) -> None:
    turn = {"state": "completed", "reply": "text"}
    assert modules.call("notices.js", "(m, turn) => m.notice(turn)", turn) is None
    turn["reply"] = ""
    assert "without any text" in modules.call("notices.js", "(m, turn) => m.notice(turn)", turn)["title"]


def test_times_of_two_pages_are_not_set_against_each_other(modules: Modules) -> None:
    body = """(m) => m.figures({ sentAt: null, firstAt: 900, lastAt: 20, endedAt: 30,
        usage: { input_tokens: 3, output_tokens: 9 } }).map(({ label }) => label)"""
    assert modules.call("figures.js", body) == ["in", "cached", "out"]


@pytest.mark.parametrize(
    ("ms", "shown"),
    [(0, "< 1 ms"), (84.4, "84 ms"), (3_210, "3.21 s"), (45_600, "45.6 s"), (61_000, "1 min 1 s")],
)
def test_durations_read_well(modules: Modules, ms: float, shown: str) -> None:
    assert modules.call("figures.js", "(m, ms) => m.duration(ms)", ms) == shown


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
def test_what_follows_a_close(
    modules: Modules, code: int, open_ms: int, limit_reached: bool, step: str
) -> None:
    body = "(m, [code, openMs, reached]) => m.afterClose(code, openMs, reached)"
    assert modules.call("backoff.js", body, [code, open_ms, limit_reached]) == step


@pytest.mark.parametrize(
    ("status", "step"),
    [(0, "retry"), (401, "key"), (403, "key"), (429, "retry"), (503, "retry"), (404, "stop")],
)
def test_what_follows_a_refused_exchange(modules: Modules, status: int, step: str) -> None:
    assert modules.call("backoff.js", "(m, status) => m.afterExchange(status)", status) == step


def test_waits_grow_to_a_bound(modules: Modules) -> None:
    body = "(m) => [0, 1, 2, 60].flatMap((attempt) => [0, 1].map((chance) => m.delayMs(attempt, chance)))"
    assert modules.call("backoff.js", body) == [200, 400, 400, 800, 800, 1600, 7500, 15000]
