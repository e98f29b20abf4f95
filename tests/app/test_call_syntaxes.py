"""Functions of the families that write calls in a way of their own, through the whole server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from jsonschema import Draft202012Validator
from openai import AsyncOpenAI

from app.engines import build_default
from engine.calls.syntax import CallSyntax
from engine.scripted import ScriptedEngine
from tests.app.policies import FORBIDDEN, INPUT, OUTPUT, UNSAID, rule, write_policy
from tests.app.serving import Served, config_for, serving
from tests.app.talk import talking
from tests.app.test_calls import ABOUT, ARGUMENTS, PARAMETERS, TOOL, sdk
from tests.engine.calls import templates
from tests.engine.calls.families import ALL, written
from tests.engine.tiny_chat import save_tiny_chat
from tests.engine.tiny_tokenizers import CHATML, byte_level
from tests.protocol.validation import validate_event

pytestmark = pytest.mark.anyio

FAMILIES = {name: syntax for name, syntax in ALL.items() if name not in ("hermes", "llama")}


@pytest.fixture(params=FAMILIES.values(), ids=FAMILIES)
def syntax(request: pytest.FixtureRequest) -> CallSyntax:
    found: CallSyntax = request.param
    return found


@pytest.fixture(params=[list, None], ids=["chars", "words"])
async def served(request: pytest.FixtureRequest, syntax: CallSyntax, tmp_path: Path) -> AsyncIterator[Served]:
    policy = write_policy(tmp_path, FORBIDDEN, UNSAID, rule("pii", "redact", OUTPUT + INPUT, "my number"))
    cut: Any = {"split": request.param} if request.param else {}
    async with serving(ScriptedEngine(syntax=syntax, **cut), policy=policy) as server:
        yield server


async def said(served: Served, text: str, **fields: Any) -> list[dict[str, Any]]:
    """The output of a reply of this text, streamed; its events are as the standard has them."""
    history: Any = [{"role": "assistant", "content": text}]
    async with talking(served) as talk:
        events = await talk.turn(history, model="scripted", tools=[TOOL], **fields)
    for event in events:
        validate_event(event)
    output: list[dict[str, Any]] = events[-1]["response"]["output"]
    for index, item in enumerate(output):
        deltas = [
            event["delta"] for event in events if event.get("output_index") == index and "delta" in event
        ]
        assert "".join(deltas) == (item["arguments"] if "arguments" in item else item["content"][0]["text"])
    return output


def cities(output: list[dict[str, Any]]) -> list[Any]:
    return [json.loads(item["arguments"])["city"] for item in output if item["type"] == "function_call"]


def calls(syntax: CallSyntax, *cities: str) -> str:
    return written(syntax, *(("weather", json.dumps({"city": city, "days": 2})) for city in cities))


async def test_text_and_calls_are_items_and_text_behind_calls_is_left_out(
    served: Served, syntax: CallSyntax
) -> None:
    output = await said(served, f"Let me look. {calls(syntax, 'Rome', 'Oslo')} There.")
    assert [item["type"] for item in output] == ["message", "function_call", "function_call"]
    assert output[0]["content"][0]["text"] == "Let me look."
    assert (output[1]["arguments"], output[1]["status"]) == (ARGUMENTS, "completed")
    assert cities(output) == ["Rome", "Oslo"]


async def test_one_call_where_they_must_not_be_parallel(served: Served, syntax: CallSyntax) -> None:
    assert cities(await said(served, calls(syntax, "Rome", "Oslo"), parallel_tool_calls=False)) == ["Rome"]


async def test_a_reply_that_makes_the_same_call_again_has_made_its_calls(
    served: Served, syntax: CallSyntax
) -> None:
    output = await said(served, calls(syntax, "Rome", "Oslo", "Rome", "Oslo", "Oslo"))
    assert cities(output) == ["Rome", "Oslo"]


async def test_gate_cuts_and_redacts_within_arguments(served: Served, syntax: CallSyntax) -> None:
    [cut] = await said(served, calls(syntax, "the forbidden phrase"))
    assert (cut["status"], cut["arguments"].rstrip('"')) == ("incomplete", '{"city": "the ')
    assert cities(await said(served, calls(syntax, "my number"))) == ["[redacted]"]


async def test_two_steps_of_a_conversation(served: Served, syntax: CallSyntax) -> None:
    async with sdk(served) as client:
        history: Any = [{"role": "assistant", "content": calls(syntax, "Rome")}]
        first = await client.responses.create(model="scripted", input=history, tools=[TOOL])
        [call] = first.output
        assert call.type == "function_call"
        gave: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        second = await client.responses.create(
            model="scripted", previous_response_id=first.id, input=[gave], tools=[TOOL]
        )
    assert second.output_text == "sunny"


TEMPLATES = {
    "mistral-list": templates.MISTRAL_LIST,
    "mistral-named": templates.MISTRAL_NAMED,
    "mistral-named-with-id": templates.MISTRAL_NAMED_WITH_ID,
    "qwen-coder": templates.QWEN_CODER,
    "deepseek": templates.DEEPSEEK,
    "told-in-words": CHATML,
}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where our C is compiled to, once."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(params=TEMPLATES.values(), ids=TEMPLATES)
async def model(request: pytest.FixtureRequest, tmp_path: Path, state: Path) -> AsyncIterator[AsyncOpenAI]:
    """A random model behind a server, with such a template and its control tokens."""
    folder = save_tiny_chat(
        tmp_path / "calls",
        request.param,
        inner=templates.with_control(byte_level()),
        max_position_embeddings=2048,
    )
    config = config_for(state, engine="torch", model=folder, dtype="float32", kv_memory_mib=64)
    async with serving(build_default(config).engine) as served, sdk(served) as client:
        yield client


def called(made: Any) -> list[Any]:
    """The arguments of a response's calls, each of which satisfies the schema."""
    found = [json.loads(item.arguments) for item in made.output if item.type == "function_call"]
    for arguments in found:
        Draft202012Validator(PARAMETERS).validate(arguments)
    return found


async def test_random_model_calls_and_is_answered(model: AsyncOpenAI) -> None:
    for choice in ("required", {"type": "function", "name": "weather"}):
        made = await model.responses.create(
            input="x",
            tools=[TOOL],
            tool_choice=choice,  # type: ignore[arg-type]
            parallel_tool_calls=False,
            max_output_tokens=400,
        )
        assert (made.status, len(called(made)), made.output_text) == ("completed", 1, "")
    [call] = made.output
    assert call.type == "function_call"
    gave: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    asked: Any = {"role": "user", "content": "And now?"}
    for more in ([gave], [gave, asked]):
        followed = await model.responses.create(
            previous_response_id=made.id, input=more, tools=[TOOL], max_output_tokens=4
        )
        assert followed.usage is not None
        assert followed.status in ("completed", "incomplete")
        again: Any = [{"role": "user", "content": "x"}, call.to_dict(), *more]
        assert await model.responses.create(input=again, tools=[TOOL], max_output_tokens=4)


async def test_continued_call_meets_its_cached_pages(model: AsyncOpenAI) -> None:
    made = await model.responses.create(
        input="x", tools=[TOOL], tool_choice="required", parallel_tool_calls=False, max_output_tokens=400
    )
    [call] = made.output
    assert made.usage is not None
    assert call.type == "function_call"
    gave: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    followed = await model.responses.create(
        previous_response_id=made.id, input=[gave], tools=[TOOL], max_output_tokens=1
    )
    assert followed.usage is not None
    context = made.usage.input_tokens + made.usage.output_tokens
    assert followed.usage.input_tokens_details.cached_tokens >= context - 64


async def test_forced_call_that_meets_a_limit_shows_no_markup(model: AsyncOpenAI) -> None:
    for limit in (1, 3, 8, 20):
        made = await model.responses.create(
            input="x", tools=[TOOL], tool_choice="required", max_output_tokens=limit
        )
        assert (made.status, made.output_text) == ("incomplete", "")


@pytest.mark.parametrize("schema", [{"type": "string", "format": "nothing"}, {"type": "nothing"}])
async def test_a_function_whose_schema_cannot_be_held_is_refused_where_it_must_be(
    model: AsyncOpenAI, schema: dict[str, str]
) -> None:
    parameters = {"type": "object", "properties": {"a": schema}}
    tool: Any = {"type": "function", **ABOUT, "parameters": parameters}
    strict: Any = {**tool, "strict": True}
    musts: list[tuple[str, Any]] = [
        ("tools", {"tools": [strict]}),
        ("tool_choice", {"tools": [tool], "tool_choice": "required"}),
    ]
    for param, fields in musts:
        with pytest.raises(openai.BadRequestError) as refused:
            await model.responses.create(input="x", **fields)
        assert (refused.value.code, refused.value.param) == ("invalid_value", param)
        assert [*schema][-1] in str(refused.value)
    assert (await model.responses.create(input="x", tools=[tool], max_output_tokens=2)).id


async def test_schema_whose_branches_all_lead_back_to_it(model: AsyncOpenAI) -> None:
    leaf = {"anyOf": [{"$ref": "#/$defs/leaf"}] * 40}
    parameters = {
        "type": "object",
        "properties": {"k": {"$ref": "#/$defs/leaf"}},
        "$defs": {"leaf": leaf},
    }
    tool: Any = {"type": "function", **ABOUT, "parameters": parameters}
    assert (await model.responses.create(input="x", tools=[tool], max_output_tokens=2)).id
