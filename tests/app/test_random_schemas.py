"""Random schemas through the whole server: whatever the model draws, a reply that ended is of its schema."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from jsonschema import Draft202012Validator

from app.engines import build_default
from tests.app.dialects import client_of
from tests.app.serving import Served, config_for, serving
from tests.app.talk import Event, Talk, talking, text_of
from tests.engine.schemas import random_root
from tests.engine.tiny_chat import save_tiny_chat

pytestmark = pytest.mark.anyio

CLIENTS, SOCKETS = 16, 15
LIMIT: Final = 200  # tokens; most replies end before
FEW: Final = 150
A_RUN: Final = 500
CASES_A_SCHEMA: Final = 200
"""Of `--fuzz-cases`: one case here is a whole reply."""

Body = dict[str, Any]
ENDS: Final = {"completed": "stop", "incomplete": "length"}


def responses_body(schema: Body, seed: int) -> Body:
    named = {"type": "json_schema", "name": "reply", "schema": schema}
    return {"input": "Go on.", "text": {"format": named}, "seed": seed, "max_output_tokens": LIMIT}


def chat_body(schema: Body, seed: int) -> Body:
    named = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
    said = [{"role": "user", "content": "Go on."}]
    return {"messages": said, "response_format": named, "seed": seed, "max_tokens": LIMIT}


async def post(client: httpx.AsyncClient, path: str, body: Body) -> Any:
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def stream(client: httpx.AsyncClient, path: str, body: Body) -> list[Event]:
    answer = await client.post(path, json={**body, "stream": True})
    assert answer.status_code == 200, answer.text
    lines = [
        line[6:] for line in answer.text.split("\n") if line.startswith("data: {")
    ]  # U+2028 ends no line
    return [json.loads(line) for line in lines]


def told(response: Event) -> tuple[str, str]:
    (message,) = response["output"]
    return message["content"][0]["text"], ENDS[response["status"]]


def told_by_events(events: list[Event]) -> tuple[str, str]:
    assert "response" in events[-1], events[-1]
    text, end = told(events[-1]["response"])
    assert text_of(events) == text
    return text, end


async def ask_json(client: httpx.AsyncClient, schema: Body, seed: int) -> tuple[str, str]:
    return told(await post(client, "/v1/responses", responses_body(schema, seed)))


async def ask_sse(client: httpx.AsyncClient, schema: Body, seed: int) -> tuple[str, str]:
    return told_by_events(await stream(client, "/v1/responses", responses_body(schema, seed)))


async def ask_chat(client: httpx.AsyncClient, schema: Body, seed: int) -> tuple[str, str]:
    (choice,) = (await post(client, "/v1/chat/completions", chat_body(schema, seed)))["choices"]
    return choice["message"]["content"], choice["finish_reason"]


async def ask_chunks(client: httpx.AsyncClient, schema: Body, seed: int) -> tuple[str, str]:
    chunks = await stream(client, "/v1/chat/completions", chat_body(schema, seed))
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    return text, choices[-1]["finish_reason"]


async def ask_socket(talk: Talk, schema: Body, seed: int) -> tuple[str, str]:
    return told_by_events(await talk.turn(**responses_body(schema, seed)))


Schemas = Iterator[tuple[int, Body]]
Ask = Callable[[Body, int], Awaitable[tuple[str, str]]]
OVER_HTTP: Final = (ask_json, ask_sse, ask_chat, ask_chunks)


async def ask_all(ask: Ask, schemas: Schemas) -> int:
    """How many replies ended, each of its schema."""
    ended = 0
    for seed, schema in schemas:
        text, end = await ask(schema, seed)
        assert end in ("stop", "length")
        if end == "stop":
            Draft202012Validator(schema).validate(json.loads(text))
            ended += 1
    return ended


async def ask_over_http(served: Served, number: int, schemas: Schemas) -> int:
    async with client_of(served) as client:
        return await ask_all(partial(OVER_HTTP[number % len(OVER_HTTP)], client), schemas)


async def ask_over_socket(served: Served, schemas: Schemas) -> int:
    async with talking(served) as talk:
        return await ask_all(partial(ask_socket, talk), schemas)


async def run_schemas(served: Served, draw: random.Random, count: int) -> None:
    """So many, each once, side by side in all dialects. Most replies have to end within their limit."""
    schemas = enumerate(random_root(draw) for _ in range(count))
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(ask_over_http(served, number, schemas)) for number in range(CLIENTS)]
        asking += [group.create_task(ask_over_socket(served, schemas)) for _ in range(SOCKETS)]
    assert sum(task.result() for task in asking) > 0.75 * count


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    model = save_tiny_chat(tmp_path / "formats")
    config = config_for(tmp_path, engine="torch", model=model, dtype="float32", kv_memory_mib=64)
    async with serving(build_default(config).engine) as served:
        yield served


async def test_every_reply_that_ended_is_of_its_schema_in_a_small_run(served: Served) -> None:
    await run_schemas(served, random.Random(7), FEW)


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
async def test_every_reply_that_ended_is_of_its_schema_in_a_long_run(served: Served, fuzz_cases: int) -> None:
    draw = random.Random(fuzz_cases)
    for _ in range(max(1, fuzz_cases // CASES_A_SCHEMA // A_RUN)):
        await run_schemas(served, draw, A_RUN)
