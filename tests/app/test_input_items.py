"""The input of a stored response, read back by its id."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI

from engine.playback import Fault
from engine.scripted import ScriptedEngine
from tests.app.serving import Served, serving
from tests.app.talk import TERMINAL, talking

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def served(anyio_backend: str) -> AsyncIterator[Served]:
    stalling = ScriptedEngine(faults=lambda request: Fault(1) if "stall" in str(request.source) else None)
    async with serving(stalling) as server:
        yield server


@pytest.fixture
async def client(served: Served) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key=served.key, base_url=served.http + "/v1", max_retries=0) as client:
        yield client


async def test_the_official_sdk_reads_every_page(client: AsyncOpenAI) -> None:
    said = [f"number {index}" for index in range(45)]
    messages = [{"role": "user", "content": text} for text in said]
    made = await client.responses.create(model="scripted", input=messages)  # type: ignore[arg-type]
    listing = client.responses.input_items
    newest = [item async for item in listing.list(made.id)]
    oldest = [item async for item in listing.list(made.id, order="asc", limit=7)]
    assert [item.content[0].text for item in oldest] == said  # type: ignore[union-attr]
    assert newest == oldest[::-1]
    assert len({item.id for item in newest}) == 45
    page = await listing.list(made.id)
    assert (len(page.data), page.has_more) == (20, True)
    behind = await listing.list(made.id, after=newest[43].id or "")
    assert (behind.data, behind.has_more) == ([newest[44]], False)


async def test_roles_and_parts_are_those_that_the_model_saw(client: AsyncOpenAI) -> None:
    made = await client.responses.create(
        model="scripted",
        instructions="These are no input.",
        input=[
            {"role": "developer", "content": "Be brief."},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": [{"type": "input_text", "text": t} for t in ("one ", "two")]},
        ],
    )
    page = await client.responses.input_items.list(made.id, order="asc")
    shown = [(item.role, item.content[0].type, item.content[0].text) for item in page.data]  # type: ignore[union-attr]
    assert shown == [
        ("system", "input_text", "Be brief."),
        ("assistant", "output_text", "Hello."),
        ("user", "input_text", "one two"),
    ]


async def test_what_a_response_continues_is_not_its_own_input(client: AsyncOpenAI) -> None:
    first = await client.responses.create(model="scripted", input="the first")
    second = await client.responses.create(
        model="scripted", input="the second", previous_response_id=first.id
    )
    (item,) = (await client.responses.input_items.list(second.id)).data
    assert item.content[0].text == "the second"  # type: ignore[union-attr]


async def test_there_is_none_of_a_response_that_is_not_stored_running_or_deleted(
    served: Served, client: AsyncOpenAI
) -> None:
    unstored = await client.responses.create(model="scripted", input="hello", store=False)
    deleted = await client.responses.create(model="scripted", input="hello")
    await client.responses.delete(deleted.id)
    async with talking(served) as talk:
        await talk.create("words that stall")
        running = (await talk.until("response.output_text.delta"))[0]["response"]["id"]
        for response_id, why in [
            (unstored.id, "never stored"),
            (deleted.id, "was deleted"),
            ("resp_of_nobody", "never stored"),
            (running, "still running"),
        ]:
            with pytest.raises(openai.NotFoundError, match=why) as missing:
                await client.responses.input_items.list(response_id)
            assert missing.value.code == "response_not_found"
        await client.responses.cancel(running)
        await talk.until(*TERMINAL)
    (item,) = (await client.responses.input_items.list(running)).data
    assert item.content[0].text == "words that stall"  # type: ignore[union-attr]


async def test_a_query_that_is_not_understood_is_refused(client: AsyncOpenAI) -> None:
    made = await client.responses.create(model="scripted", input="hello")
    for extra, param in [
        ({"limit": 0}, "limit"),
        ({"after": "msg_none"}, "after"),
        ({"before": "x"}, "before"),
    ]:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.input_items.list(made.id, extra_query=extra)
        assert refused.value.param == param
    with pytest.raises(openai.BadRequestError, match="include"):
        await client.responses.input_items.list(made.id, include=["message.output_text.logprobs"])
