"""A response in the older dialects: chat completions and completions, streamed and whole."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from openai.types import Completion as SdkCompletion
from openai.types.chat import ChatCompletion as SdkChatCompletion
from openai.types.chat import ChatCompletionChunk as SdkChatChunk

from protocol.codec import SSE_DONE
from protocol.codes import ProtocolError
from protocol.dialects.chat import ChatStream, chat_completion
from protocol.dialects.completions import TextStream, text_completion
from protocol.dialects.outcome import failure, finish_reason, output_text
from protocol.dialects.stream import CompletionStream, error_data
from protocol.events import (
    OutputTextDelta,
    ResponseCompleted,
    ResponseEvent,
    ResponseFailed,
    ResponseIncomplete,
)
from protocol.items import OutputMessage, OutputText
from protocol.logprobs import TokenLogprob, TopLogprob
from protocol.response import IncompleteDetails, Response, ResponseError
from tests.protocol.samples import CUT, LENGTH, begun, called, failed, response, turn
from tests.protocol.validation import validate

USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 3,
    "total_tokens": 8,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
ENDINGS: list[tuple[Any, Any, str]] = [
    ("completed", None, "stop"),
    ("incomplete", LENGTH, "length"),
    ("incomplete", CUT, "content_filter"),
    ("incomplete", IncompleteDetails(reason="steered"), "stop"),
    ("cancelled", None, "stop"),
]


def chat(include_usage: bool = False) -> ChatStream:
    return ChatStream("chatcmpl-1", 1_700_000_000, "m", include_usage)


def text(include_usage: bool = False) -> TextStream:
    return TextStream("cmpl-1", 1_700_000_000, "m", include_usage)


def streamed(stream: CompletionStream[Any], events: Iterable[ResponseEvent]) -> list[dict[str, Any]]:
    """The chunks before [DONE]."""
    data = b"".join(stream.feed(event) for event in events)
    assert data.endswith(SSE_DONE)
    lines = data.removesuffix(SSE_DONE).decode().removesuffix("\n\n").split("\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def final(pieces: list[str], status: Any = "completed", details: Any = None) -> Response:
    terminal = turn(pieces, status, incomplete_details=details)[-1]
    assert isinstance(terminal, (ResponseCompleted, ResponseIncomplete))
    return terminal.response


def test_the_chunks_of_a_chat() -> None:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m"}

    def chunk(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**head, "choices": [choice]}

    assert streamed(chat(), turn(["Hel", "lo"])) == [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        {**chunk({}, "stop"), "service_tier": "default"},
    ]


def test_the_bytes_of_a_chat_delta() -> None:
    stream = chat()
    deltas = [stream.feed(event) for event in turn(['"\n'])]
    assert deltas[5] == (
        b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m",'
        b'"choices":[{"index":0,"delta":{"content":"\\"\\n"},"logprobs":null,"finish_reason":null}]}\n\n'
    )
    assert [index for index, data in enumerate(deltas) if data] == [3, 5, 9]


def test_the_chunks_of_a_completion() -> None:
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1_700_000_000, "model": "m"}

    def chunk(piece: str, finish: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"text": piece, "index": 0, "logprobs": None, "finish_reason": finish}]}

    assert streamed(text(), turn(["Hel", "lo"])) == [
        chunk("Hel"),
        chunk("lo"),
        {**chunk("", "stop"), "service_tier": "default"},
    ]


@pytest.mark.parametrize("make", [chat, text])
def test_usage_comes_last_and_only_when_asked_for(make: Any) -> None:
    *chunks, last = streamed(make(include_usage=True), turn(["a"]))
    assert all(chunk["usage"] is None for chunk in chunks)
    assert (last["choices"], last["usage"]) == ([], USAGE)
    assert all("usage" not in chunk for chunk in streamed(make(), turn(["a"])))


@pytest.mark.parametrize("make", [chat, text])
def test_a_response_that_has_no_usage_has_no_usage_chunk(make: Any) -> None:
    end = ResponseIncomplete(sequence_number=3, response=response("cancelled"))
    assert all(chunk["choices"] for chunk in streamed(make(include_usage=True), [*begun(), end]))


@pytest.mark.parametrize(("status", "details", "reason"), ENDINGS)
def test_why_it_ended(status: Any, details: Any, reason: str) -> None:
    whole = final(["a"], status, details)
    assert finish_reason(whole) == reason
    events = turn(["a"], status, incomplete_details=details)
    for last in (
        streamed(chat(), events)[-1],
        streamed(text(), events)[-1],
        json.loads(chat_completion(whole, "chatcmpl-1")),
        json.loads(text_completion(whole, "cmpl-1")),
    ):
        assert last["choices"][0]["finish_reason"] == reason


def test_a_cut_names_its_category_and_policy_in_each_dialect() -> None:
    whole = final(["a"], "incomplete", CUT)
    events = turn(["a"], "incomplete", incomplete_details=CUT)
    details = {"reason": "content_filter", "category": "custom/example", "policy_version": "2026-11-22"}
    for last in (
        streamed(chat(), events)[-1],
        streamed(text(), events)[-1],
        json.loads(chat_completion(whole, "chatcmpl-1")),
        json.loads(text_completion(whole, "cmpl-1")),
    ):
        assert last["choices"][0]["incomplete_details"] == details


def test_a_reply_without_a_word_still_opens_with_its_role() -> None:
    events = [*begun()[:3], turn([], "incomplete", incomplete_details=CUT)[-1]]
    first, last = streamed(chat(), events)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert last["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize("make", [chat, text])
def test_a_failure_is_an_error_in_the_streams_midst(make: Any) -> None:
    *_, last = streamed(make(), [*begun(), failed()])
    error = {"message": "The model failed.", "type": "server_error", "param": None, "code": "model_error"}
    assert last == {"error": error}


def test_an_error_from_outside_the_response() -> None:
    data = error_data(ProtocolError("draining", "Later."))
    assert json.loads(data.removeprefix(b"data: "))["error"]["code"] == "draining"


def test_a_failure_without_a_name_of_ours_is_internal() -> None:
    assert failure(response("completed")) is None
    for error in (None, ResponseError("whatever", "It broke.")):
        found = failure(response("failed", error=error))
        assert found is not None
        assert found.code == "internal_error"
    event = ResponseFailed(sequence_number=1, response=response("failed"))
    assert streamed(chat(), [event])[0]["error"]["code"] == "internal_error"


@pytest.mark.parametrize("make", [chat, text])
def test_a_reply_that_the_server_ended_is_no_whole_one(make: Any) -> None:
    why = ResponseError("draining", "The server shut down.")
    end = ResponseIncomplete(sequence_number=3, response=response("cancelled", error=why))
    *_, last = streamed(make(), [*begun(), end])
    assert last["error"]["code"] == "draining"
    assert "Send the request again" in last["error"]["message"]


def test_a_whole_chat_completion() -> None:
    answer = json.loads(chat_completion(final(["Hel", "lo"]), "chatcmpl-1"))
    message = {"role": "assistant", "content": "Hello", "refusal": None, "annotations": []}
    assert answer == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": USAGE,
        "service_tier": "default",
        "metadata": {},
    }


def test_a_whole_completion() -> None:
    answer = json.loads(text_completion(final(["Hel", "lo"]), "cmpl-1"))
    assert answer == {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [{"text": "Hello", "index": 0, "logprobs": None, "finish_reason": "stop"}],
        "usage": USAGE,
        "service_tier": "default",
    }


def test_a_response_without_usage_has_none() -> None:
    whole = response("completed")
    assert "usage" not in json.loads(chat_completion(whole, "c"))
    assert "usage" not in json.loads(text_completion(whole, "c"))
    assert output_text(whole) == ""


@pytest.mark.parametrize(("status", "details", "reason"), ENDINGS)
def test_the_sdk_and_the_schemas_know_every_shape(status: Any, details: Any, reason: str) -> None:
    events = turn(["a"], status, incomplete_details=details)
    whole = final(["a"], status, details)
    for chunk in streamed(chat(include_usage=True), events):
        SdkChatChunk.model_validate(chunk)
        validate(chunk, "ChatChunk")
    for chunk in streamed(text(include_usage=True), events):
        if chunk["choices"] and chunk["choices"][0]["finish_reason"]:  # the SDK's type knows no chunks
            SdkCompletion.model_validate(chunk)
        validate(chunk, "Completion")
    answer = chat_completion(whole, "chatcmpl-1")
    assert SdkChatCompletion.model_validate_json(answer).choices[0].message.content == "a"
    validate(answer, "ChatCompletion")
    answer = text_completion(whole, "cmpl-1")
    assert SdkCompletion.model_validate_json(answer).choices[0].text == "a"
    validate(answer, "Completion")


@given(st.lists(st.text(), max_size=5))
def test_any_text_arrives_as_it_is(pieces: list[str]) -> None:
    chunks = streamed(chat(), turn(pieces))
    contents = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "".join(contents) == "".join(pieces)
    chunks = streamed(text(), turn(pieces))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "".join(pieces)


AB = (
    TokenLogprob("a", (97,), -0.5, (TopLogprob("a", (97,), -0.5), TopLogprob("<end>", (), -1.5))),
    TokenLogprob("\ufffd", (0xC3,), -1.0),
)
REST = (TokenLogprob("\ufffd", (0xA9,), -2.0), TokenLogprob("!", (33,), -3.0))


def scored_deltas() -> list[ResponseEvent]:
    where: dict[str, Any] = {"item_id": "m", "output_index": 0, "content_index": 0}
    return [
        OutputTextDelta(sequence_number=5, delta="a", logprobs=AB, **where),
        OutputTextDelta(sequence_number=6, delta="é!", logprobs=REST, **where),
        OutputTextDelta(sequence_number=7, delta="x", **where),
    ]


def test_log_probabilities_go_with_the_delta_that_completes_their_tokens() -> None:
    stream = chat()
    chunks = [json.loads(stream.feed(event).removeprefix(b"data: ")) for event in scored_deltas()]
    for chunk in chunks:
        validate(json.dumps(chunk), "ChatChunk")
    first, second, third = (chunk["choices"][0] for chunk in chunks)
    assert first["delta"] == {"content": "a"}
    assert first["logprobs"] == {
        "content": [
            {
                "token": "a",
                "bytes": [97],
                "logprob": -0.5,
                "top_logprobs": [
                    {"token": "a", "bytes": [97], "logprob": -0.5},
                    {"token": "<end>", "bytes": [], "logprob": -1.5},
                ],
            },
            {"token": "\ufffd", "bytes": [0xC3], "logprob": -1.0, "top_logprobs": []},
        ],
        "refusal": None,
    }
    assert [one["token"] for one in second["logprobs"]["content"]] == ["\ufffd", "!"]
    assert third["logprobs"] is None


def test_log_probabilities_of_a_completion_say_where_their_tokens_begin() -> None:
    stream = text()
    chunks = [json.loads(stream.feed(event).removeprefix(b"data: ")) for event in scored_deltas()]
    for chunk in chunks:
        validate(json.dumps(chunk), "Completion")
    first, second, third = (chunk["choices"][0]["logprobs"] for chunk in chunks)
    assert first == {
        "tokens": ["a", "\ufffd"],
        "token_logprobs": [-0.5, -1.0],
        "top_logprobs": [{"a": -0.5, "<end>": -1.5}, {}],
        "text_offset": [0, 1],
    }
    assert second["text_offset"] == [1, 2]
    assert third is None


def test_log_probabilities_of_whole_answers() -> None:
    part = OutputText(text="aé!", logprobs=AB + REST)
    whole = response("completed", output=(OutputMessage(id="m", status="completed", content=(part,)),))
    answer = json.loads(chat_completion(whole, "c", scored=True))
    validate(json.dumps(answer), "ChatCompletion")
    assert [one["logprob"] for one in answer["choices"][0]["logprobs"]["content"]] == [-0.5, -1, -2, -3]
    answer = json.loads(text_completion(whole, "c", scored=True))
    validate(json.dumps(answer), "Completion")
    assert answer["choices"][0]["logprobs"]["text_offset"] == [0, 1, 1, 2]
    empty = response("completed")
    assert json.loads(chat_completion(empty, "c", scored=True))["choices"][0]["logprobs"] == {
        "content": [],
        "refusal": None,
    }


def test_a_call_is_streamed_as_chunks_of_a_chat() -> None:
    chunks = streamed(chat(), called())
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {
            "tool_calls": [
                {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        {},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_text_and_calls_share_one_opening() -> None:
    events = called()
    added = [replace(events[3], output_index=index) for index in (1, 2)]
    deltas = [
        chunk["choices"][0]["delta"] for chunk in streamed(chat(), [*begun(), *added, begun()[3], events[-1]])
    ]
    assert [delta.get("role") for delta in deltas] == ["assistant", None, None, None]
    assert [delta["tool_calls"][0]["index"] for delta in deltas[1:3]] == [0, 1]


def test_a_whole_chat_answer_has_the_calls() -> None:
    [*_, end] = called()
    assert isinstance(end, ResponseCompleted)
    answer = chat_completion(end.response, "chatcmpl-1")
    validate(answer, "ChatCompletion")
    [choice] = SdkChatCompletion.model_validate_json(answer, strict=True).choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert choice.message.tool_calls is not None
    [call] = choice.message.tool_calls
    assert call.to_dict() == {
        "id": "call_1",
        "type": "function",
        "function": {"name": "f", "arguments": '{"a":1}'},
    }
