"""The gate in the stream: what reaches sockets, streams, Redis, history and logs is released text only."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from engine.scripted import ScriptedEngine
from tests.app.policies import FORBIDDEN, INPUT, NOTED, OUTPUT, UNSAID, US_NUMBER, rule, write_policy
from tests.app.serving import Served, serving
from tests.app.talk import talking, text_of

pytestmark = pytest.mark.anyio

VERSION = "test-7"
RULES = (FORBIDDEN, UNSAID, rule("pii", "redact", OUTPUT + INPUT, patterns=[US_NUMBER]), NOTED)


def characters(text: str) -> list[str]:
    """One character a token: every boundary falls inside every match."""
    return list(text)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    path = write_policy(tmp_path, *RULES, version=VERSION)
    async with serving(ScriptedEngine(split=characters), policy=path) as server:
        yield server


async def everything_in_redis(served: Served) -> bytes:
    redis: Redis = served.service.store.redis
    dump = b""
    async for key in redis.scan_iter("*"):
        dump += key + (await redis.dump(key) or b"")
        if await redis.type(key) == b"hash":
            dump += b"".join(b"%b%b" % pair for pair in (await redis.hgetall(key)).items())
    return dump


async def test_a_cut_ends_in_the_official_way_and_nothing_of_the_match_is_anywhere(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    system = "Echo."  # the input itself may hold the phrase: only the reply is judged by this rule
    async with talking(served) as talk:
        events = await talk.turn("all is well FORBIDDEN  phrase and more", instructions=system)
        last = events[-1]
        assert last["type"] == "response.incomplete"
        assert last["response"]["incomplete_details"] == {
            "reason": "content_filter",
            "category": "custom/forbidden",
            "policy_version": "test-7",
        }
        assert text_of(events) == "all is well "
        assert last["response"]["output"][0]["content"][0]["text"] == "all is well "
        assert last["response"]["output"][0]["status"] == "incomplete"
        assert last["response"]["usage"]["output_tokens"] > len("all is well ")
        child = (await talk.turn("go on", previous_response_id=last["response"]["id"]))[-1]
        assert child["type"] == "response.completed"
    sent = json.dumps(talk.events)
    assert "FORBIDDEN" not in sent
    assert "forbidden phrase" not in sent
    assert "FORBIDDEN" not in caplog.text
    record = await served.service.hub.stores.of("default").get(last["response"]["id"])
    assert record is not None
    assert record.output_text == "all is well "
    assert b"FORBIDDEN" not in record.response


async def test_the_reply_in_redis_is_the_released_one(served: Served) -> None:
    async with talking(served) as talk:
        done = (await talk.turn("number 078-05-1120 here", store=True))[-1]["response"]
    assert done["output"][0]["content"][0]["text"] == "number [redacted] here"
    # the input was redacted too, so the number is nowhere at all
    assert b"078-05" not in await everything_in_redis(served)


async def test_a_refused_input_says_so_and_begins_nothing(served: Served) -> None:
    async with talking(served) as talk:
        refusal = (await talk.turn("this is unsayable"))[-1]
        assert refusal["error"]["code"] == "content_policy_violation"
        assert "unsayable" not in json.dumps(refusal)
        assert "custom/unsaid" in refusal["error"]["message"]
    assert b"unsayable" not in await everything_in_redis(served)


async def test_every_dialect_names_the_category_of_a_cut(served: Served) -> None:
    details = {"reason": "content_filter", "category": "custom/forbidden", "policy_version": "test-7"}
    text = "fine so far, forbidden phrase"
    async with httpx.AsyncClient(base_url=served.http, headers=served.headers) as client:
        chat = {"messages": [{"role": "user", "content": text}]}
        answer = (await client.post("/v1/chat/completions", json=chat)).json()
        assert answer["choices"][0]["message"]["content"] == "fine so far, "
        assert answer["choices"][0]["finish_reason"] == "content_filter"
        assert answer["choices"][0]["incomplete_details"] == details
        stream = (await client.post("/v1/chat/completions", json=chat | {"stream": True})).text
        assert json.dumps(details, separators=(",", ":")) in stream
        assert "forbidden p" not in stream
        answer = (await client.post("/v1/completions", json={"prompt": text})).json()
        assert answer["choices"][0]["text"] == "fine so far, "
        assert answer["choices"][0]["finish_reason"] == "content_filter"
        assert answer["choices"][0]["incomplete_details"] == details
        response = (await client.post("/v1/responses", json={"input": text})).json()
        assert response["incomplete_details"] == details


async def test_an_annotation_is_on_the_finished_part(served: Served) -> None:
    async with talking(served) as talk:
        part = (await talk.turn("a remarkable thing"))[-1]["response"]["output"][0]["content"][0]
    assert part["text"] == "a remarkable thing"
    assert part["annotations"] == [
        {"type": "sluice:moderation", "start_index": 2, "end_index": 12, "category": "custom/noted"}
    ]


@pytest.mark.parametrize("at", range(len("see forbidden phrase now") + 1))
async def test_no_split_of_the_tokens_leaks_or_withholds(tmp_path: Path, at: int) -> None:
    def split(text: str) -> list[str]:
        return [part for part in (text[:at], text[at:]) if part]

    path = write_policy(tmp_path, *RULES, version=VERSION)
    async with serving(ScriptedEngine(split=split), policy=path) as served, talking(served) as talk:
        events = await talk.turn("see forbidden phrase now")
        assert text_of(events) == "see "
        assert events[-1]["response"]["incomplete_details"]["category"] == "custom/forbidden"
