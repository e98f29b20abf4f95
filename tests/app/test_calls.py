"""Functions called through the whole server, with the official SDK: in both dialects, streamed and whole."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from jsonschema import Draft202012Validator
from openai import AsyncOpenAI, BadRequestError

from app.engines import build_default
from engine.scripted import ScriptedEngine
from tests.app.policies import FORBIDDEN, INPUT, NOTED, OUTPUT, UNSAID, rule, write_policy
from tests.app.serving import Served, config_for, serving
from tests.app.talk import talking
from tests.needs import find_default_model
from tests.protocol.validation import validate, validate_event

pytestmark = pytest.mark.anyio

PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Rome", "Oslo"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
ABOUT = {"name": "weather", "description": "The weather of a city.", "parameters": PARAMETERS}
TOOL: Any = {"type": "function", **ABOUT}
CHAT_TOOL: Any = {"type": "function", "function": ABOUT}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome", "days": 2}}\n</tool_call>'
ARGUMENTS = '{"city": "Rome", "days": 2}'
LATER, LATER_ARGUMENTS = CALL.replace("2", "25"), ARGUMENTS.replace("2", "25")


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as server:
        yield server


@pytest.fixture
async def client(served: Served) -> AsyncIterator[AsyncOpenAI]:
    async with sdk(served) as client:
        yield client


def sdk(served: Served) -> AsyncOpenAI:
    return AsyncOpenAI(api_key=served.key, base_url=served.http + "/v1", max_retries=0)


async def test_call_in_a_response(client: AsyncOpenAI) -> None:
    made = await client.responses.create(model="scripted", input=CALL, tools=[TOOL])
    validate(made.to_json().encode(), "Response")
    [call] = made.output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments), call.status) == (
        "weather",
        {"city": "Rome", "days": 2},
        "completed",
    )
    assert call.id is not None
    assert (call.id[:3], call.call_id[:5]) == ("fc_", "call_")
    assert (made.status, made.output_text) == ("completed", "")
    assert made.tools[0].to_dict()["name"] == "weather"
    stored = await client.responses.retrieve(made.id)
    assert stored.output == made.output


async def test_streamed_call_beside_text(served: Served) -> None:
    async with talking(served) as talk:
        events = await talk.turn(f"Let me look. {CALL} There.", tools=[TOOL], model="scripted")
    for event in events:
        validate_event(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"].removeprefix("response.") for event in events if "delta" not in event]
    message = ["output_item.added", "content_part.added"]
    message_end = ["output_text.done", "content_part.done", "output_item.done"]
    call = ["output_item.added", "function_call_arguments.done", "output_item.done"]
    assert kinds == [
        "created",
        "in_progress",
        *message,
        *message_end,
        *call,
        "completed",
    ]
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call"]
    assert len({item["id"] for item in output}) == 2
    for index, item in enumerate(output):
        deltas = [
            event["delta"] for event in events if event.get("output_index") == index and "delta" in event
        ]
        whole = item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"]
        assert "".join(deltas) == whole
        assert [event["item"] for event in events if event["type"].endswith("item.done")][index] == item
    assert [item["content"][0]["text"] for item in output[::2]] == ["Let me look."]
    assert output[1]["arguments"] == ARGUMENTS


async def test_sdk_puts_a_streamed_call_together(client: AsyncOpenAI) -> None:
    async with client.responses.stream(model="scripted", input=CALL, tools=[TOOL]) as stream:
        async for event in stream:
            assert event.type != "response.output_text.delta"
        final = await stream.get_final_response()
    [call] = final.output
    assert call.type == "function_call"
    assert call.arguments == ARGUMENTS


async def test_two_steps_over_the_sdks_socket(client: AsyncOpenAI) -> None:
    async with client.responses.connect() as connection:
        await connection.response.create(input=CALL, model="scripted", tools=[TOOL], store=False)
        async for event in connection:
            if event.type == "response.completed":
                break
        [call] = event.response.output
        assert call.type == "function_call"
        assert call.arguments == ARGUMENTS
        gave: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        await connection.response.create(
            input=[gave], model="scripted", tools=[TOOL], previous_response_id=event.response.id, store=False
        )
        async for event in connection:
            if event.type == "response.completed":
                break
        assert event.response.output_text == "sunny"


async def test_call_that_is_cancelled(served: Served) -> None:
    slow = CALL.replace("Rome", "Rome " * 3000)
    async with talking(served) as talk:
        await talk.send(type="response.create", input=slow, tools=[TOOL], model="scripted")
        created = await talk.next()
        while (await talk.next())["type"] != "response.function_call_arguments.delta":
            pass
        await talk.send(type="response.cancel", response_id=created["response"]["id"])
        while (event := await talk.next())["type"] != "response.incomplete":
            assert event["type"] != "response.completed"
    [call] = event["response"]["output"]
    assert (event["response"]["status"], call["type"], call["status"]) == (
        "cancelled",
        "function_call",
        "incomplete",
    )


async def test_warm_up_with_functions_says_nothing(client: AsyncOpenAI) -> None:
    warm = await client.responses.create(
        model="scripted", input=CALL, tools=[TOOL], extra_body={"generate": False}
    )
    assert (warm.status, warm.output) == ("completed", [])


async def test_replay_of_a_call_is_the_same(client: AsyncOpenAI) -> None:
    made = await client.responses.create(model="scripted", input=CALL, tools=[TOOL])
    replayed = [event async for event in await client.responses.retrieve(made.id, stream=True)]
    deltas = [event.delta for event in replayed if event.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == ARGUMENTS
    assert replayed[-1].type == "response.completed"
    assert replayed[-1].response == made


@pytest.mark.parametrize("by_id", [True, False])
async def test_two_steps_of_a_conversation(client: AsyncOpenAI, by_id: bool) -> None:
    first = await client.responses.create(model="scripted", input=CALL, tools=[TOOL])
    [call] = first.output
    assert call.type == "function_call"
    gave: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny in Rome"}
    if by_id:
        second = await client.responses.create(
            model="scripted", previous_response_id=first.id, input=[gave], tools=[TOOL]
        )
    else:
        talk: Any = [{"role": "user", "content": CALL}, call.to_dict(), gave]
        second = await client.responses.create(model="scripted", input=talk, tools=[TOOL])
    assert second.output_text == "sunny in Rome"
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens
    if by_id:
        assert second.usage.input_tokens_details.cached_tokens >= 64
    items = [item async for item in client.responses.input_items.list(second.id, order="asc")]
    assert items[-1].type == "function_call_output"
    assert len(items) == (1 if by_id else 3)


async def test_an_output_of_no_call_is_refused(client: AsyncOpenAI) -> None:
    gave: Any = {"type": "function_call_output", "call_id": "call_nix", "output": "sunny"}
    late: Any = {"type": "function_call", "call_id": "call_nix", "name": "weather", "arguments": "{}"}
    parent = await client.responses.create(model="scripted", input=CALL, tools=[TOOL])
    for asked in (
        {"input": [gave]},
        {"input": [gave, late]},
        {"input": [gave], "previous_response_id": parent.id},
    ):
        with pytest.raises(
            BadRequestError, match="for the call 'call_nix', which stands nowhere before"
        ) as refused:
            await client.responses.create(model="scripted", tools=[TOOL], **asked)
        assert (refused.value.code, refused.value.param) == ("invalid_value", "input")
    said: Any = [
        {"role": "user", "content": "Hi"},
        {"role": "tool", "tool_call_id": "call_nix", "content": "sunny"},
    ]
    with pytest.raises(BadRequestError, match="call_nix") as refused:
        await client.chat.completions.create(model="scripted", messages=said, tools=[CHAT_TOOL])
    assert refused.value.param == "messages"


async def test_calls_in_a_chat(client: AsyncOpenAI) -> None:
    asked: Any = [{"role": "user", "content": f"{CALL}\n{LATER}"}]
    made = await client.chat.completions.create(model="scripted", messages=asked, tools=[CHAT_TOOL])
    [choice] = made.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert choice.message.tool_calls is not None
    assert [call.to_dict()["function"] for call in choice.message.tool_calls] == [
        {"name": "weather", "arguments": arguments} for arguments in (ARGUMENTS, LATER_ARGUMENTS)
    ]
    gave: Any = [
        {"role": "tool", "tool_call_id": call.id, "content": f"answer {index}"}
        for index, call in enumerate(choice.message.tool_calls)
    ]
    talk = [*asked, choice.message.to_dict(), *gave]
    end = await client.chat.completions.create(model="scripted", messages=talk, tools=[CHAT_TOOL])
    assert (end.choices[0].message.content, end.choices[0].finish_reason) == ("answer 1", "stop")


async def test_streamed_calls_in_a_chat(client: AsyncOpenAI) -> None:
    asked: Any = [{"role": "user", "content": f"Well. {CALL}\n{LATER}"}]
    text, arguments, ends, ids = "", {0: "", 1: ""}, [], set()
    async for chunk in await client.chat.completions.create(
        model="scripted", messages=asked, tools=[CHAT_TOOL], stream=True
    ):
        [choice] = chunk.choices
        text += choice.delta.content or ""
        for call in choice.delta.tool_calls or ():
            assert call.function is not None
            arguments[call.index] += call.function.arguments or ""
            ids.add(call.id)
        ends.append(choice.finish_reason)
    assert (text, arguments, ends[-1]) == ("Well.", {0: ARGUMENTS, 1: LATER_ARGUMENTS}, "tool_calls")
    assert len(ids - {None}) == 2


async def test_one_call_where_they_must_not_be_parallel(client: AsyncOpenAI) -> None:
    made = await client.responses.create(
        model="scripted", input=f"{CALL}{CALL} More.", tools=[TOOL], parallel_tool_calls=False
    )
    assert [item.type for item in made.output] == ["function_call"]
    assert made.status == "completed"


async def test_a_reply_that_makes_the_same_call_again_has_made_its_calls(served: Served) -> None:
    other = CALL.replace("Rome", "Oslo")
    async with talking(served) as talk:
        events = await talk.turn(f"{CALL}{other}{CALL}{other}{other}", tools=[TOOL], model="scripted")
    response = events[-1]["response"]
    assert response["status"] == "completed"
    assert [json.loads(item["arguments"])["city"] for item in response["output"]] == ["Rome", "Oslo"]


async def test_a_call_that_ends_before_it_is_told_from_another_is_shown_as_far_as_it_came(
    client: AsyncOpenAI,
) -> None:
    made = await client.responses.create(
        model="scripted", input=f"{CALL}{CALL[:-30]}", tools=[TOOL], max_output_tokens=200
    )
    whole, begun = (item for item in made.output if item.type == "function_call")
    assert (whole.arguments, whole.status) == (ARGUMENTS, "completed")
    assert (begun.status, ARGUMENTS.startswith(begun.arguments)) == ("incomplete", True)


async def test_a_repeated_call_is_not_in_the_history_either(served: Served) -> None:
    async with talking(served) as talk:
        first = (await talk.turn(f"{CALL}{CALL}", tools=[TOOL], model="scripted"))[-1]["response"]
        once = (await talk.turn(CALL, tools=[TOOL], model="scripted"))[-1]["response"]
        counts = []
        for response in (first, once):
            call_id = response["output"][0]["call_id"]
            gave = [{"type": "function_call_output", "call_id": call_id, "output": "sunny"}]
            events = await talk.turn(
                gave, previous_response_id=response["id"], tools=[TOOL], model="scripted"
            )
            counts.append(events[-1]["response"]["usage"]["input_tokens"])
        longer = first["usage"]["input_tokens"] - once["usage"]["input_tokens"]
    assert counts[0] - counts[1] == longer


@pytest.mark.parametrize("text", ["un{}sayable", "{}un{}sayable", "un{}{}sayable", "{}un</tool_call>sayable"])
@pytest.mark.parametrize("parallel", [True, False])
async def test_texts_around_calls_never_say_what_the_gate_withholds(
    gated: AsyncOpenAI, text: str, parallel: bool
) -> None:
    other = CALL.replace("Rome", "Oslo")
    content = text.replace("{}", CALL, 1).replace("{}", other)
    made = await gated.responses.create(
        model="scripted", input=content, tools=[TOOL], parallel_tool_calls=parallel
    )
    assert "sayable" not in made.output_text
    chat = await gated.chat.completions.create(
        model="scripted",
        messages=[{"role": "user", "content": content}],
        tools=[{"type": "function", "function": {"name": TOOL["name"], "parameters": {}}}],  # type: ignore[typeddict-item]
        parallel_tool_calls=parallel,
    )
    assert "sayable" not in (chat.choices[0].message.content or "")


async def test_a_closing_tag_that_the_model_breaks_off_lets_nothing_out(gated: AsyncOpenAI) -> None:
    made = await said(gated, CALL.removesuffix("</tool_call>") + "</tool_callunsayable")
    assert made.output_text == ""


async def test_calls_stay_text_where_none_may_be_made(client: AsyncOpenAI) -> None:
    closed = await client.responses.create(model="scripted", input=CALL, tools=[TOOL], tool_choice="none")
    other: Any = {"type": "function", "name": "other"}
    unknown = await client.responses.create(model="scripted", input=CALL, tools=[other])
    assert closed.output_text == unknown.output_text == CALL


async def test_reply_that_ends_within_a_call(client: AsyncOpenAI) -> None:
    made = await client.responses.create(model="scripted", input=CALL, tools=[TOOL], max_output_tokens=6)
    [call] = made.output
    assert call.type == "function_call"
    assert (made.status, call.status) == ("incomplete", "incomplete")
    assert ARGUMENTS.startswith(call.arguments)


@pytest.fixture
async def gated(tmp_path: Path) -> AsyncIterator[AsyncOpenAI]:
    """Every character is a token, so each boundary falls inside each match."""
    policy = write_policy(
        tmp_path, FORBIDDEN, NOTED, UNSAID, rule("pii", "redact", OUTPUT + INPUT, "my number")
    )
    async with serving(ScriptedEngine(split=list), policy=policy) as served, sdk(served) as client:
        yield client


async def said(client: AsyncOpenAI, text: str, **fields: Any) -> Any:
    """A response that echoes a reply, which no input gate judges."""
    history: Any = [{"role": "assistant", "content": text}]
    return await client.responses.create(model="scripted", input=history, tools=[TOOL], **fields)


async def test_gate_cuts_within_arguments(gated: AsyncOpenAI) -> None:
    made = await said(gated, CALL.replace("Rome", "the forbidden phrase"))
    assert made.incomplete_details is not None
    assert (made.status, made.incomplete_details.reason) == ("incomplete", "content_filter")
    [call] = made.output
    assert (call.status, call.arguments) == ("incomplete", '{"city": "the ')
    replayed = [event.to_json() async for event in await gated.responses.retrieve(made.id, stream=True)]
    assert not any("forbidden phrase" in event for event in replayed)


async def test_gate_redacts_within_arguments(gated: AsyncOpenAI) -> None:
    made = await said(gated, CALL.replace("Rome", "my number"))
    [call] = made.output
    assert (call.status, json.loads(call.arguments)["city"]) == ("completed", "[redacted]")


async def test_notes_are_on_the_text_before_the_first_call(gated: AsyncOpenAI) -> None:
    made = await said(gated, f"A remarkable city. {CALL} remarkable {CALL.replace('Rome', 'remarkable')}")
    first, _, call = made.output
    assert len(first.content[0].annotations) == 1
    assert json.loads(call.arguments)["city"] == "remarkable"


async def test_gate_judges_what_functions_say_of_themselves(gated: AsyncOpenAI) -> None:
    for tool in (
        {**TOOL, "description": "an unsayable thing"},
        {**TOOL, "parameters": {"type": "object", "description": "unsayable"}},
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            await gated.responses.create(model="scripted", input="x", tools=[tool])  # type: ignore[list-item]
        assert (refused.value.code, refused.value.param) == ("content_policy_violation", "tools")
    hidden: Any = {**TOOL, "description": "for my number"}
    assert (await gated.responses.create(model="scripted", input="x", tools=[hidden])).output_text == "x"


@pytest.mark.parametrize(
    "tool",
    [
        {**TOOL, "name": "secretname"},
        {**TOOL, "parameters": {"type": "object", "minProperties": 777, "properties": {}}},
    ],
)
async def test_function_that_the_gate_would_break_is_refused(tmp_path: Path, tool: Any) -> None:
    policy = write_policy(tmp_path, rule("pii", "redact", INPUT, "secretname", "777"))
    async with serving(policy=policy) as served, sdk(served) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="scripted", input="x", tools=[tool])
    assert (refused.value.code, refused.value.param) == ("content_policy_violation", "tools")


async def test_reply_that_ends_before_its_call_does(gated: AsyncOpenAI) -> None:
    made = await said(gated, CALL.partition(', "days"')[0])
    [call] = made.output
    assert (made.status, call.status, call.arguments) == ("completed", "incomplete", '{"city": "Rome"')
    begun = await said(gated, "Well.\n<tool_call>")
    assert begun.output_text == "Well.\n<tool_call>"
    assert [item.type for item in (await said(gated, "")).output] == ["message"]


async def test_engine_without_masks_cannot_force_a_call(client: AsyncOpenAI) -> None:
    for fields, param in [({"tool_choice": "required"}, "tool_choice"), ({}, "tools")]:
        tool: Any = {**TOOL, "strict": True}
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="scripted", input="x", tools=[tool], **fields)  # type: ignore[call-overload]
        assert (refused.value.code, refused.value.param) == ("unsupported_parameter", param)


async def test_tools_count_as_input(client: AsyncOpenAI) -> None:
    plain = await client.responses.input_tokens.count(model="scripted", input="x")
    told = await client.responses.input_tokens.count(model="scripted", input="x", tools=[TOOL])
    assert told.input_tokens > plain.input_tokens + 20


@pytest.mark.model
async def test_default_model_must_call(tmp_path: Path) -> None:
    config = config_for(tmp_path, engine="torch", model=find_default_model(), kv_memory_mib=256)
    async with serving(build_default(config).engine) as served, sdk(served) as client:
        first = await client.responses.create(
            input="How is the weather in Oslo in the next three days?",
            tools=[TOOL],
            tool_choice="required",
            parallel_tool_calls=False,
        )
        [call] = first.output
        assert call.type == "function_call"
        Draft202012Validator(PARAMETERS).validate(json.loads(call.arguments))
        gave: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain, 4 degrees."}
        second = await client.responses.create(
            previous_response_id=first.id, input=[gave], tools=[TOOL], max_output_tokens=40
        )
        assert second.output_text
        assert second.usage is not None
        assert second.usage.input_tokens_details.cached_tokens >= 128
