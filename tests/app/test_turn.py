"""One response, fed by hand: the order of its events under every outcome, and what is kept of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from app.emitter import Sink
from app.ids import new_id
from app.moderation.gate import Gate, GateStep
from app.moderation.matcher import CompiledPolicy, compile_policy
from app.moderation.policy import parse_policy
from app.scores import ScoreBook
from app.turn import Turn
from engine.adapters.files import checked_adapter
from engine.adapters.store import AdapterLimits, AdapterStore
from engine.interface import EngineStats, ModelInfo
from engine.request import (
    Candidate,
    Deliver,
    Draft,
    EngineError,
    EngineRequest,
    Finished,
    FinishReason,
    Output,
    Queued,
    Sampling,
    Score,
    Scored,
    Started,
    Usage,
)
from engine.scripted_tokenizer import ScriptedTokenizer
from protocol.codec import encode
from protocol.dialects.responses import type_of
from protocol.events import TERMINAL_TYPES, ResponseEvent
from protocol.response import Response
from tests.protocol.validation import validate_event

POLICY = compile_policy(
    parse_policy(
        b"""
version = "unit-1"
[[rule]]
category = "custom/forbidden"
action = "block"
terms = ["forbidden phrase"]
[[rule]]
category = "custom/noted"
action = "annotate"
terms = ["remarkable"]
""",
        "unit",
    )
)


class HandEngine:
    """An engine whose every word comes from the test: it remembers what it was asked and says nothing itself."""

    def __init__(self, refusal: EngineError | None = None) -> None:
        self.model = ModelInfo("by-hand", 0, 1000)
        self.tokenizer = ScriptedTokenizer()
        self.adapters = AdapterStore(checked_adapter, AdapterLimits())
        self.ready = True
        self.refusal = refusal
        self.submitted: list[str] = []
        self.cancelled: list[str] = []

    def start(self, loop: asyncio.AbstractEventLoop) -> None: ...

    def submit(self, request: EngineRequest, deliver: Deliver) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.submitted.append(request.id)

    def cancel(self, request_id: str) -> None:
        self.cancelled.append(request_id)

    def commit(self, request_id: str, released: Sequence[int]) -> None: ...

    def prefill(self, draft: Draft) -> None: ...

    def forget(self, draft_id: str, salt: str = "") -> None: ...

    def stats(self) -> EngineStats:
        return EngineStats()

    async def drain(self, timeout_s: float) -> None: ...

    async def close(self) -> None: ...


class Reader(Sink):
    """Keeps the events as their readers get them, each valid by the documents."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def offer(self, data: bytes, number: int, event: ResponseEvent | str) -> None:
        validate_event(data)
        self.events.append(json.loads(data))
        assert self.events[-1]["sequence_number"] == number
        if isinstance(event, str):
            assert self.events[-1]["delta"] == event
        else:
            assert data == encode(event)

    @property
    def kinds(self) -> list[str]:
        return [event["type"].removeprefix("response.") for event in self.events]

    @property
    def text(self) -> str:
        return "".join(event.get("delta", "") for event in self.events)


class Broken(Reader):
    """Raises at the event of that number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def offer(self, data: bytes, number: int, event: ResponseEvent | str) -> None:
        if number == self.number:
            raise RuntimeError("a reader must not raise")
        super().offer(data, number, event)


class Scene:
    """A turn with its engine and one reader, already submitted unless said otherwise."""

    def __init__(
        self,
        *,
        policy: CompiledPolicy = POLICY,
        gate: Gate | None = None,
        refusal: EngineError | None = None,
        max_events: int = 1000,
        warm_up: bool = False,
        scored: bool = False,
        submit: bool = True,
    ) -> None:
        self.engine = HandEngine(refusal)
        self.reader = Reader()
        self.turn = Turn(
            response=Response(
                id="resp_1",
                created_at=1,
                status="in_progress",
                model="by-hand",
                truncation="disabled",
                temperature=1.0,
                top_p=1.0,
                store=True,
            ),
            item_id=new_id("msg"),
            tenant="mine",
            gate=gate or Gate(policy),
            engine=self.engine,
            max_events=max_events,
            warm_up=warm_up,
            scores=ScoreBook(policy) if scored else None,
        )
        self.turn.attach(self.reader)
        if submit:
            self.submit()

    def submit(self) -> None:
        self.turn.submit(EngineRequest("resp_1", [1], (), Sampling()))

    def feed(self, *outputs: Output) -> None:
        for output in outputs:
            self.turn.deliver(output)

    def end(self) -> dict[str, Any]:
        """Conclude as the hub does; the terminal event's response, after what holds for every response."""
        assert self.turn.ended.is_set()
        assert not self.turn.concluded.is_set()
        self.turn.conclude(self.turn.finished_response(2))
        assert self.turn.concluded.is_set()
        events = self.reader.events
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert [event["type"] in TERMINAL_TYPES for event in events] == [False] * (len(events) - 1) + [True]
        last: dict[str, Any] = events[-1]["response"]
        shown = "".join(item["content"][0]["text"] for item in last["output"])
        assert shown == self.turn.text == self.reader.text
        dones = [event["text"] for event in events if event["type"] == "response.output_text.done"]
        assert dones == ([shown] if last["output"] else [])
        return last


def finished(reason: FinishReason = FinishReason.STOP, error: EngineError | None = None) -> Finished:
    return Finished(reason, Usage(input=3, cached=1, output=2), (7, 1), error)


OPENED = ["created", "in_progress", "output_item.added", "content_part.added"]
CLOSED = ["output_text.done", "content_part.done", "output_item.done"]


def test_a_reply_that_ends_by_itself() -> None:
    scene = Scene()
    scene.feed(Started(0), "Hello ", "you", finished())
    last = scene.end()
    assert scene.reader.kinds == [*OPENED, "output_text.delta", "output_text.delta", *CLOSED, "completed"]
    assert (last["status"], last["completed_at"]) == ("completed", 2)
    assert last["output"][0]["status"] == "completed"
    assert last["usage"]["input_tokens_details"]["cached_tokens"] == 1
    assert (last["usage"]["input_tokens"], last["usage"]["output_tokens"]) == (3, 2)
    assert scene.turn.token_ids == (7, 1)
    assert repr(scene.turn) == "<Turn resp_1 stop seq=10>"


def test_a_reply_that_waits_says_so_first() -> None:
    scene = Scene()
    scene.feed(Queued(0), Started(0), "x", finished())
    scene.end()
    assert scene.reader.kinds[:3] == ["created", "queued", "in_progress"]
    assert [event["response"]["status"] for event in scene.reader.events[:3]] == [
        "in_progress",
        "queued",
        "in_progress",
    ]


def test_a_reply_at_its_token_limit() -> None:
    scene = Scene()
    scene.feed(Started(0), "x", finished(FinishReason.LENGTH))
    last = scene.end()
    assert scene.reader.kinds[-1] == "incomplete"
    assert (last["status"], last["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert (last["output"][0]["status"], last["completed_at"]) == ("incomplete", None)


def test_a_reply_without_text_is_still_a_reply() -> None:
    scene = Scene()
    scene.feed(Started(0), finished())
    last = scene.end()
    assert scene.reader.kinds == [*OPENED, *CLOSED, "completed"]
    assert last["output"][0]["content"][0]["text"] == ""


def test_a_warm_up_has_no_item() -> None:
    scene = Scene(warm_up=True)
    scene.feed(Started(0), finished())
    assert scene.end()["output"] == []
    assert scene.reader.kinds == ["created", "in_progress", "completed"]


def test_text_that_the_gate_held_to_the_end_is_released_at_the_end() -> None:
    scene = Scene()
    scene.feed(Started(0), "so far forbid")
    assert "forbid" not in scene.reader.text
    scene.feed(finished())
    assert scene.end()["output"][0]["content"][0]["text"] == "so far forbid"


def test_a_cut_in_mid_stream_asks_the_engine_to_stop_and_drops_what_still_comes() -> None:
    scene = Scene()
    scene.feed(Started(0), "fine ", "forbidden phrase,")
    assert scene.engine.cancelled == ["resp_1"]
    scene.turn.cancel()  # too late to be one
    scene.feed(" and more", finished(FinishReason.CANCELLED))
    last = scene.end()
    assert scene.reader.text == "fine "
    assert last["incomplete_details"] == {
        "reason": "content_filter",
        "category": "custom/forbidden",
        "policy_version": "unit-1",
    }
    assert (last["status"], scene.turn.cancelled) == ("incomplete", False)
    assert scene.turn.cut is not None
    assert scene.turn.token_ids == (7, 1)  # billed as generated, whatever was shown


def test_a_cut_at_the_very_end() -> None:
    scene = Scene()
    scene.feed(Started(0), "fine forbidden phrase", finished())
    assert scene.end()["incomplete_details"]["reason"] == "content_filter"
    assert scene.reader.text == "fine "


def test_a_cut_of_all_text_leaves_no_item() -> None:
    scene = Scene()
    scene.feed(Started(0), "forbidden phrase.", finished())
    assert scene.end()["output"] == []
    assert scene.reader.kinds == ["created", "in_progress", "incomplete"]


def test_a_note_stands_on_the_part_that_is_done() -> None:
    scene = Scene()
    scene.feed(Started(0), "a remarkable ", "thing", finished())
    (note,) = scene.end()["output"][0]["content"][0]["annotations"]
    assert (note["start_index"], note["end_index"], note["category"]) == (2, 12, "custom/noted")


@pytest.mark.parametrize("before", [[], [Queued(3)], [Started(0)], [Started(0), "some "]])
def test_a_cancel_at_any_time_releases_nothing_more(before: list[Output]) -> None:
    scene = Scene()
    scene.feed(*before)
    shown = scene.reader.text
    scene.turn.cancel()
    scene.turn.cancel()
    assert scene.engine.cancelled == ["resp_1"]
    assert repr(scene.turn) == f"<Turn resp_1 cancelling seq={len(scene.reader.events)}>"
    scene.feed("late", finished(FinishReason.CANCELLED))
    last = scene.end()
    assert (scene.reader.text, scene.reader.kinds[-1], last["status"]) == (shown, "incomplete", "cancelled")
    assert last["incomplete_details"] is None


def test_a_cancel_before_the_engine_knows_it_reaches_the_engine_with_the_request() -> None:
    scene = Scene(submit=False)
    scene.turn.cancel()
    assert scene.engine.cancelled == []
    scene.submit()
    assert (scene.engine.submitted, scene.engine.cancelled) == (["resp_1"], ["resp_1"])
    scene.feed(Queued(0), finished(FinishReason.CANCELLED))  # it is not announced as waiting
    assert scene.end()["status"] == "cancelled"
    assert scene.reader.kinds == ["created", "incomplete"]


def test_a_cancel_after_the_end_changes_nothing() -> None:
    scene = Scene()
    scene.feed(Started(0), "whole", finished())
    scene.turn.cancel()
    assert scene.engine.cancelled == []
    assert scene.end()["status"] == "completed"


def test_an_engine_that_cancels_by_itself_is_believed() -> None:
    scene = Scene()
    scene.feed(Started(0), "some ", finished(FinishReason.CANCELLED))
    assert scene.end()["status"] == "cancelled"


@pytest.mark.parametrize("before", [[], [Started(0)], [Started(0), "some "]])
def test_a_failure_of_the_engine_is_named(before: list[Output]) -> None:
    scene = Scene()
    error = EngineError("first_token_timeout", "Too slow.")
    scene.feed(*before, finished(FinishReason.FAILED, error))
    last = scene.end()
    assert scene.reader.kinds[-1] == "failed"
    assert last["error"] == {"code": "first_token_timeout", "message": "Too slow."}
    assert (last["status"], last["incomplete_details"], last["completed_at"]) == ("failed", None, None)


def test_a_failure_without_a_name_gets_one() -> None:
    scene = Scene()
    scene.feed(Started(0), finished(FinishReason.FAILED))
    assert scene.end()["error"]["code"] == "internal_error"


def test_a_turn_whose_beginning_cannot_be_told_is_taken_back_from_the_engine() -> None:
    scene = Scene(submit=False)
    scene.turn.attach(Broken(0))
    with pytest.raises(RuntimeError):
        scene.submit()
    assert scene.engine.cancelled == ["resp_1"]
    scene.feed(Started(0), "late", finished(FinishReason.CANCELLED))
    assert scene.turn.ended.is_set()
    assert scene.reader.kinds == ["created"], "who heard of it hears no more"


def test_a_request_that_the_engine_refuses_has_no_event() -> None:
    scene = Scene(refusal=EngineError("server_is_overloaded", "Full."), submit=False)
    with pytest.raises(EngineError):
        scene.submit()
    assert scene.reader.events == []
    scene.turn.cancel()
    assert scene.engine.cancelled == []


class BrokenGate(Gate):
    """A gate with a bug: it fails at one text, or at the end."""

    def __init__(self, at: str | None) -> None:
        super().__init__(POLICY)
        self._at = at

    def glance(self, text: str) -> str | None:
        if text == self._at:
            raise RuntimeError("a bug in the gate")
        return super().glance(text)

    def finish(self) -> GateStep:
        if self._at is None:
            raise RuntimeError("a bug in the gate")
        return super().finish()


def test_a_gate_that_fails_lets_nothing_through_and_the_response_fails_by_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene(gate=BrokenGate(at="secret "))
    scene.feed(Started(0), "fine ", "secret ", "later")
    assert scene.engine.cancelled == ["resp_1"]
    scene.feed(finished(FinishReason.CANCELLED))
    last = scene.end()
    assert last["error"]["code"] == "internal_error"
    assert scene.reader.text == "fine "
    assert "secret" not in caplog.text.replace("test_turn.py", "")


def test_a_gate_that_fails_at_the_end_still_ends_the_response() -> None:
    scene = Scene(gate=BrokenGate(at=None))
    scene.feed(Started(0), finished())
    last = scene.end()
    assert (last["status"], last["error"]["code"]) == ("failed", "internal_error")
    assert last["usage"]["output_tokens"] == 2


def test_the_first_fault_of_several_is_told() -> None:
    scene = Scene()
    scene.turn.fail("internal_error", "First.")
    scene.turn.fail("model_error", "Second.")
    scene.feed(finished(FinishReason.FAILED, EngineError("model_error", "Third.")))
    assert scene.end()["error"]["message"] == "First."


def test_the_first_text_is_told_once_and_when_it_is_released() -> None:
    scene = Scene()
    told: list[int] = []
    scene.turn.on_first_text = lambda: told.append(len(scene.reader.events))
    scene.feed(Started(0), "forbid")
    assert told == []
    scene.feed(" not ", "more", finished())
    assert told == [2]


def test_a_reader_that_left_gets_nothing_more_and_the_others_all() -> None:
    scene = Scene()
    left = Reader()
    scene.turn.attach(left)
    scene.feed(Started(0))
    scene.turn.detach(left)
    scene.turn.detach(left)
    scene.feed("x", finished())
    scene.end()
    assert left.kinds == ["in_progress"]


def test_the_journal_holds_what_the_readers_got() -> None:
    scene = Scene()
    scene.feed(Started(0), "x", finished())
    scene.end()
    journal = scene.turn.journal
    assert journal is not None
    assert [json.loads(data) for data in journal.after(-1)] == scene.reader.events
    assert [type_of(data) for data in journal.after(-1)] == [event["type"] for event in scene.reader.events]


@pytest.mark.parametrize(("max_events", "kept"), [(8, False), (9, True)])
def test_a_response_of_too_many_events_is_not_kept_but_reaches_its_readers_whole(
    max_events: int, kept: bool
) -> None:
    scene = Scene(max_events=max_events)
    scene.feed(Started(0), "x", finished())
    scene.end()
    assert len(scene.reader.events) == 9
    assert (scene.turn.journal is not None) is kept


def splits(text: str) -> list[Callable[[], list[str]]]:
    return [
        lambda: list(text),
        lambda: [text],
        *[lambda at=at: [text[:at], text[at:]] for at in range(1, len(text))],
    ]


@pytest.mark.parametrize("parts", splits("fine, forbidden phrase."))
def test_however_the_text_arrives_the_same_is_shown(parts: Callable[[], list[str]]) -> None:
    scene = Scene()
    scene.feed(Started(0), *parts(), finished())
    scene.end()
    assert scene.reader.text == "fine, "


def test_a_gate_that_fails_at_the_end_still_closes_the_item_that_it_opened() -> None:
    scene = Scene(gate=BrokenGate(at=None))
    scene.feed(Started(0), "some ", finished())
    scene.end()
    assert scene.reader.kinds == [*OPENED, "output_text.delta", *CLOSED, "failed"]


def scored_texts(*tokens: str) -> list[Scored]:
    """A delta for each token, its alternative the word that the policy forbids."""
    end, deltas = 0, []
    for token in tokens:
        end += len(token)
        other = Candidate(" forbidden phrase", b" forbidden phrase", -9.0)
        chosen = Candidate(token, token.encode(), -1.0)
        deltas.append(Scored(token, (Score(chosen, (chosen, other), end),)))
    return deltas


def test_log_probabilities_go_out_with_the_delta_that_releases_their_token() -> None:
    scene = Scene(scored=True)
    scene.feed(Started(0), *scored_texts("Hello", " for", "bidden", " fruit"), finished())
    last = scene.end()
    deltas = [event for event in scene.reader.events if event["type"] == "response.output_text.delta"]
    told = [(event["delta"], [one["token"] for one in event["logprobs"]]) for event in deltas]
    assert told == [
        ("Hello", ["Hello"]),
        (" ", []),
        ("forbidden fruit", [" for", "bidden", " fruit"]),
    ]
    part = last["output"][0]["content"][0]
    assert part["logprobs"] == [one for event in deltas for one in event["logprobs"]]
    dones = [e for e in scene.reader.events if e["type"].endswith((".done",)) and "logprobs" in e]
    assert [event["logprobs"] for event in dones] == [part["logprobs"]]
    assert "forbidden phrase" not in json.dumps(scene.reader.events), "nor is it told as likely"


def test_a_cut_withholds_the_log_probabilities_too() -> None:
    scene = Scene(scored=True)
    scene.feed(Started(0), *scored_texts("Say", " forbidden", " phr", "ase", ".", " more"), finished())
    last = scene.end()
    assert last["incomplete_details"]["reason"] == "content_filter"
    assert [one["token"] for one in last["output"][0]["content"][0]["logprobs"]] == ["Say"]
    for withheld in (" forbidden", "phr", "ase", "more"):
        assert withheld not in json.dumps(scene.reader.events)


def test_a_cancel_withholds_what_was_held() -> None:
    scene = Scene(scored=True)
    scene.feed(Started(0), *scored_texts("Say", " forbidden"))
    scene.turn.cancel()
    scene.feed(*scored_texts("late"), finished(FinishReason.CANCELLED))
    last = scene.end()
    assert [one["token"] for one in last["output"][0]["content"][0]["logprobs"]] == ["Say"]
    assert "forbidden" not in json.dumps(scene.reader.events)


def test_the_journal_replays_log_probabilities_as_they_went_out() -> None:
    scene = Scene(scored=True)
    scene.feed(Started(0), *scored_texts("a", "b"), finished())
    scene.end()
    assert scene.turn.journal is not None
    assert [json.loads(data) for data in scene.turn.journal.after(-1)] == scene.reader.events
