"""Replies of a format through the whole server, the gate on: every dialect's way to ask, and its refusals."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openai import AsyncOpenAI
from pydantic import BaseModel, Field

from app.ask import Ask
from app.engines import build_default
from app.formats import compiled_format
from app.principal import Principal
from app.workers import HERE_CHARACTERS, Workers
from engine.calls.hermes import HERMES
from engine.request import OutputFormat
from engine.scripted import ScriptedEngine
from protocol.codes import ProtocolError
from protocol.requests.create import CreateResponse
from protocol.requests.format import AskedFormat
from tests.app.dialects import DIALECTS, client_of, take_turn
from tests.app.serving import Served, config_for, serving
from tests.engine.tiny_chat import save_tiny_chat
from tests.engine.tiny_tokenizers import CHATML

pytestmark = pytest.mark.anyio

COLOURS = {"type": "object", "properties": {"c": {"enum": ["red", "dark green"]}}, "required": ["c"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_chat(tmp_path_factory.mktemp("models") / "formats")


@pytest.fixture
async def served(model: Path, tmp_path: Path) -> AsyncIterator[Served]:
    config = config_for(tmp_path, engine="torch", model=model, dtype="float32", kv_memory_mib=64)
    async with serving(build_default(config).engine) as served:
        yield served


def asked(dialect: str, schema: dict[str, Any]) -> dict[str, Any]:
    named = {"name": "reply", "schema": schema}
    if dialect.startswith("chat"):
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    return {"text": {"format": {"type": "json_schema", **named}}}


async def test_a_schema_is_satisfied_in_every_dialect_that_has_a_word_for_it(served: Served) -> None:
    said = set()
    for dialect in DIALECTS:
        if not dialect.startswith("completion"):
            outcome = await take_turn(served, dialect, "a colour", seed=4, **asked(dialect, COLOURS))
            assert outcome.end == "stop"
            Draft202012Validator(COLOURS).validate(json.loads(outcome.text))
            said.add(outcome.text)
    assert len(said) == 1


async def test_a_regular_expression_is_matched_in_every_dialect(served: Served) -> None:
    pattern = "[A-F0-9]{4}(-[A-F0-9]{4}){2}"
    for dialect in DIALECTS:
        outcome = await take_turn(served, dialect, "a key", structured_outputs={"regex": pattern})
        assert outcome.end == "stop"
        assert re.fullmatch(pattern, outcome.text)


async def test_a_format_that_is_kept_waits_for_no_other(served: Served) -> None:
    hub = served.service.hub
    first = await take_turn(served, "socket", "a colour", seed=4, **asked("socket", COLOURS))
    let_go, begun = threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return let_go.wait(30)

    other = asyncio.create_task(hub.workers.compile("other", 1, work))
    await asyncio.to_thread(begun.wait, 30)
    again = await take_turn(served, "socket", "a colour", seed=4, **asked("socket", COLOURS))
    assert again.text == first.text
    let_go.set()
    assert await other


async def test_the_response_shows_the_format_again(served: Served) -> None:
    async with client_of(served) as client:
        for text in (
            {"format": {"type": "text"}},
            {"format": {"type": "json_object"}},
            {
                "format": {
                    "type": "json_schema",
                    "name": "r",
                    "schema": COLOURS,
                    "description": None,
                    "strict": True,
                }
            },
        ):
            body = {"input": "hi", "text": text, "max_output_tokens": 2}
            response = (await client.post("/v1/responses", json=body)).json()
            assert response["text"] == text


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (
            "/v1/responses",
            {"input": "hi", "text": {"format": {"type": "json_schema", "name": "r", "schema": {"not": {}}}}},
            "text.format.schema",
        ),
        (
            "/v1/chat/completions",
            {
                "messages": [{"role": "user", "content": "hi"}],
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "r", "schema": {"type": "poem"}},
                },
            },
            "response_format.json_schema.schema",
        ),
        (
            "/v1/chat/completions",
            {
                "messages": [{"role": "user", "content": "hi"}],
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "r", "schema": {"type": "integer", "multipleOf": 99_999_989}},
                },
            },
            "response_format.json_schema.schema",
        ),
        (
            "/v1/responses",
            {
                "input": "hi",
                "text": {"format": {"type": "json_schema", "name": "r", "schema": {"$ref": "#"}}},
            },
            "text.format.schema",
        ),
        (
            "/v1/completions",
            {"prompt": "hi", "structured_outputs": {"regex": "[a&&b]"}},
            "structured_outputs.regex",
        ),
        (
            "/v1/completions",
            {"prompt": "hi", "structured_outputs": {"regex": "("}},
            "structured_outputs.regex",
        ),
    ],
)
async def test_a_format_that_cannot_be_is_refused_before_anything_begins(
    served: Served, path: str, body: dict[str, Any], param: str
) -> None:
    async with client_of(served) as client:
        for stream in (False, True):
            answer = await client.post(path, json={**body, "stream": stream})
            assert answer.status_code == 400
            error = answer.json()["error"]
            assert (error["code"], error["param"]) == ("invalid_value", param)
            assert param in error["message"]


async def test_a_format_is_not_compiled_for_a_caller_who_has_left() -> None:
    create = CreateResponse(messages=(), format=AskedFormat("regex", "a", "structured_outputs.regex"))
    ask = Ask(create, Principal("key_1", "tenant", frozenset()))
    workers = Workers()
    try:
        assert await compiled_format(ask, ScriptedEngine(), workers, lambda: True) is None
        with pytest.raises(ProtocolError):  # which this engine says of any format
            await compiled_format(ask, ScriptedEngine(), workers, lambda: False)
    finally:
        workers.close()


class SlowToCompile(ScriptedEngine):
    """Compiling takes until it is let go; then it is refused, as by any scripted engine."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.let_go = threading.Event()

    def compile(self, format: OutputFormat, salt: str = "") -> object:
        self.begun.set()
        assert self.let_go.wait(30)
        return super().compile(format, salt)


async def test_texts_are_answered_beside_a_schema_that_is_slow_to_compile() -> None:
    engine = SlowToCompile()
    async with serving(engine) as served:
        slow = asyncio.create_task(take_turn(served, "socket", "hi", **asked("socket", COLOURS)))
        await asyncio.to_thread(engine.begun.wait, 30)
        text = "word " * HERE_CHARACTERS  # of the length that has a thread
        assert (await take_turn(served, "socket", text)).text == text
        assert not slow.done()
        engine.let_go.set()
        assert (await slow).end == "refused"


async def test_an_engine_that_cannot_refuses_by_name(tmp_path: Path) -> None:
    async with serving() as served:
        outcome = await take_turn(served, "socket", "hi", structured_outputs={"regex": "a"})
        assert (outcome.end, outcome.code) == ("refused", "unsupported_parameter")
        assert outcome.error["param"] == "structured_outputs.regex"


class Colour(BaseModel):
    name: str = Field(max_length=5)
    share: int = Field(ge=0, le=100)


async def test_the_sdk_parses_replies_into_its_own_types(served: Served) -> None:
    async with AsyncOpenAI(base_url=f"{served.http}/v1", api_key=served.key) as client:
        response = await client.responses.parse(
            model="formats", input="a colour", text_format=Colour, temperature=0.5
        )
        assert isinstance(response.output_parsed, Colour)
        chat = await client.chat.completions.parse(
            model="formats", messages=[{"role": "user", "content": "a colour"}], response_format=Colour
        )
        assert isinstance(chat.choices[0].message.parsed, Colour)


CLOSED = {**COLOURS, "additionalProperties": False}
CHAT_TOOL = {"type": "function", "function": {"name": "paint", "parameters": CLOSED, "strict": True}}
TOOL = {"type": "function", "name": "paint", "parameters": CLOSED, "strict": True}
LLAMA = (
    "{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% if message.tool_calls %}"
    '{"name": "{{ message.tool_calls[0].function.name }}", '
    '"parameters": {{ message.tool_calls[0].function.arguments | tojson }}}'
    "{% else %}{{ message.content }}{% endif %}<|im_end|>{% endfor %}<|im_start|>assistant\n"
)


@pytest.fixture(params=[CHATML, LLAMA], ids=["hermes", "llama"])
async def calling(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    model = save_tiny_chat(tmp_path / "formats", request.param, max_position_embeddings=2048)
    config = config_for(tmp_path, engine="torch", model=model, dtype="float32", kv_memory_mib=64)
    async with serving(build_default(config).engine) as served:
        yield served


async def test_beside_functions_a_reply_is_a_call_or_of_the_format(calling: Served) -> None:
    """Log probabilities, which are of the text alone, are asked for too."""
    count = {"type": "object", "properties": {"n": {"enum": [1, 22]}}, "required": ["n"]}
    closed = {**count, "additionalProperties": False}
    ends = set()
    tokenizer = calling.service.hub.engine.tokenizer
    begins_call = tokenizer.encode("<" if tokenizer.call_syntax is HERMES else "a")[-1]
    async with AsyncOpenAI(base_url=f"{calling.http}/v1", api_key=calling.key) as client:
        for bias in (50, -50):
            made: Any = await client.responses.create(
                model="formats",
                input="Go on.",
                tools=[TOOL],  # type: ignore[list-item]
                text={"format": {"type": "json_schema", "name": "count", "schema": closed}},
                include=["message.output_text.logprobs"],
                max_output_tokens=400,
                parallel_tool_calls=False,
                extra_body={"seed": 1, "logit_bias": {str(begins_call): bias}},
            )
            assert made.status == "completed"
            [first] = made.output
            ends.add(first.type)
            if first.type == "function_call":
                Draft202012Validator(CLOSED).validate(json.loads(first.arguments))
            else:
                Draft202012Validator(closed).validate(json.loads(made.output_text))
                scores = first.content[0].logprobs
                assert b"".join(bytes(one.bytes) for one in scores) == made.output_text.encode()
    assert ends == {"message", "function_call"}


async def test_faults_of_a_format_beside_functions_are_named_as_alone(calling: Served) -> None:
    async with client_of(calling) as client:
        for format, tool, param in (
            ({"not": {}}, CHAT_TOOL, "response_format.json_schema.schema"),
            (CLOSED, {"type": "function", "function": {"name": "f", "parameters": {"not": {}}}}, "tools"),
        ):
            named = {"type": "json_schema", "json_schema": {"name": "r", "schema": format}}
            body = {"messages": [{"role": "user", "content": "hi"}], "response_format": named}
            answer = await client.post("/v1/chat/completions", json={**body, "tools": [tool]})
            error = answer.json()["error"]
            assert (error["code"], error["param"]) == ("invalid_value", param)


async def test_a_reply_that_must_be_a_call_needs_no_format(calling: Served) -> None:
    outcome = await take_turn(
        calling, "socket", "hi", tools=[TOOL], tool_choice="none", **asked("socket", CLOSED)
    )
    Draft202012Validator(CLOSED).validate(json.loads(outcome.text))
    async with AsyncOpenAI(base_url=f"{calling.http}/v1", api_key=calling.key) as client:
        made = await client.chat.completions.create(
            model="formats",
            messages=[{"role": "user", "content": "hi"}],
            tools=[CHAT_TOOL],  # type: ignore[list-item]
            tool_choice="required",
            parallel_tool_calls=False,
            response_format={"type": "json_object"},
        )
    [choice] = made.choices
    assert choice.message.content is None
    assert choice.finish_reason == "tool_calls"
