"""What of a turn is computed again by those that follow: nothing that was released, and all that was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.auth import DEFAULT_TENANT
from app.engines import build_default
from engine.request import ChatMessage, EngineRequest, Sampling, Started
from engine.scripted import ScriptedEngine
from tests.app.dialects import take_turn
from tests.app.policies import FORBIDDEN, write_policy
from tests.app.serving import Served, config_for, serving
from tests.app.talk import Event, talking, text_of
from tests.engine.contract import Heard

pytestmark = pytest.mark.anyio

QUESTION = "one two three four five six seven eight nine ten"


def characters(text: str) -> list[str]:
    return list(text)


def usage(events: list[Event]) -> tuple[int, int, int]:
    """Input tokens, how many of them were cached, output tokens."""
    found: dict[str, Any] = events[-1]["response"]["usage"]
    return found["input_tokens"], found["input_tokens_details"]["cached_tokens"], found["output_tokens"]


async def reachable(served: Served, prompt: str, reply: str) -> tuple[int, int]:
    """How much of a conversation a later request finds, and how long its prompt is."""
    engine = served.service.hub.engine
    ids = engine.tokenizer.encode_chat([ChatMessage("user", prompt)])
    heard = Heard()
    guess = EngineRequest(
        "guess",
        [*ids, *engine.tokenizer.encode(reply), 9],
        "",
        Sampling(max_tokens=1),
        salt=DEFAULT_TENANT,
    )
    engine.submit(guess, heard)
    await heard.end()
    return next(output.cached_tokens for output in heard.outputs if isinstance(output, Started)), len(ids)


@pytest.mark.parametrize("store", [True, False])
async def test_a_follow_up_computes_only_what_is_new(store: bool) -> None:
    async with serving() as served, talking(served) as talk:
        parent, known = None, 0
        for turn in range(4):
            events = await talk.turn(f"{turn} {QUESTION}", previous_response_id=parent, store=store)
            asked, cached, said = usage(events)
            assert cached == known
            parent, known = events[-1]["response"]["id"], asked + said - 1  # the last token is not computed


async def test_a_client_that_sends_all_of_it_again_computes_only_what_is_new() -> None:
    async with serving() as served:
        first = await take_turn(served, "chat", QUESTION)
        assert first.text == QUESTION
        engine = served.service.hub.engine
        before = engine.stats()
        talk = [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": first.text},
            {"role": "user", "content": "and then?"},
        ]
        await take_turn(served, "chat", "", messages=talk)
        after = engine.stats()
        assert after.cached_prompt_tokens - before.cached_prompt_tokens >= 2 * len(QUESTION.split())


async def test_of_a_reply_that_was_cut_nothing_unreleased_can_be_found(tmp_path: Path) -> None:
    path = write_policy(tmp_path, FORBIDDEN)
    text = "all is well until the forbidden phrase comes" + " and goes on" * 30
    async with serving(ScriptedEngine(split=characters), policy=path) as served, talking(served) as talk:
        events = await talk.turn(text)
        assert events[-1]["response"]["status"] == "incomplete"
        released = text_of(events)
        assert released == "all is well until the "
        cached, prompt = await reachable(served, text, text)
        assert cached == prompt + len(released)


async def test_of_a_reply_that_was_cancelled_nothing_unreleased_can_be_found() -> None:
    text = "word " * 400
    async with serving(ScriptedEngine(400)) as served, talking(served) as talk:
        await talk.create(text)
        begun = await talk.until("response.output_text.delta")
        for _ in range(20):
            begun += await talk.until("response.output_text.delta")
        await talk.send(type="response.cancel", response_id=begun[0]["response"]["id"])
        ended = await talk.until("response.incomplete")
        released = text_of(begun + ended)
        cached, prompt = await reachable(served, text, text)
        assert 0 < cached - prompt <= len(served.service.hub.engine.tokenizer.encode(released))


@pytest.mark.model
async def test_the_default_models_follow_ups_compute_only_what_is_new(tmp_path: Path) -> None:
    engine = build_default(config_for(tmp_path, engine="torch", kv_memory_mib=64)).engine
    async with serving(engine) as served, talking(served) as talk:
        parent, known = None, 0
        for question in ("What is the capital of France?", "And of Italy?", "Which is larger? Say why."):
            events = await talk.turn(question, previous_response_id=parent, max_output_tokens=24)
            asked, cached, said = usage(events)
            assert cached >= known
            parent, known = events[-1]["response"]["id"], asked + said - 1
