"""Asking for a chat completion."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.limits import Limits
from protocol.requests.chat import ChatRequest, parse_chat
from protocol.requests.message import Message
from tests.protocol.requests.refusal import refusal

HI = (Message("user", "hi"),)

OFF: dict[str, list[Any]] = {
    "audio": [],
    "function_call": ["auto", "none"],
    "functions": [[]],
    "modalities": [["text"]],
    "moderation": [],
    "n": [1],
    "parallel_tool_calls": [True],
    "prediction": [],
    "prompt_cache_options": [{}],
    "prompt_cache_retention": ["in_memory"],
    "reasoning_effort": ["none"],
    "response_format": [{"type": "text"}],
    "store": [False],
    "stream_options": [{}, {"include_obfuscation": False}, {"include_usage": False}],
    "tool_choice": ["auto"],
    "tools": [[]],
    "verbosity": ["medium"],
    "web_search_options": [],
}


def parse(**fields: Any) -> ChatRequest:
    return parse_chat({"messages": [{"role": "user", "content": "hi"}], **fields}, Limits())


def test_messages_are_enough() -> None:
    assert parse() == ChatRequest(messages=HI)


def test_everything_we_have() -> None:
    fields = {
        "model": "m",
        "stream": True,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "min_p": 0.1,
        "seed": 1,
        "stop": "END",
        "ignore_eos": True,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "repetition_penalty": 1.1,
        "logit_bias": {"50": -100},
        "min_tokens": 2,
        "metadata": {"k": "v"},
        "prompt_cache_key": "p",
        "safety_identifier": "s",
        "service_tier": "flex",
    }
    chat = parse(**fields, max_completion_tokens=9, stream_options={"include_usage": True})
    fields["stop"], fields["logit_bias"] = ("END",), ((50, -100.0),)
    assert chat == ChatRequest(messages=HI, max_output_tokens=9, include_usage=True, **fields)


@pytest.mark.parametrize("name", OFF)
def test_the_off_value_of_what_we_do_not_have_is_accepted(name: str) -> None:
    for value in [None, *OFF[name]]:
        assert parse(**{name: value}) == parse()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("modalities", ["text", "audio"]),
        ("moderation", {"model": "m"}),
        ("n", 2),
        ("n", True),
        ("prediction", {"type": "content", "content": "x"}),
        ("reasoning_effort", "low"),
        ("store", True),
        ("tool_choice", {"type": "custom", "custom": {"name": "f"}}),
        ("verbosity", "high"),
        ("web_search_options", {}),
        ("input", "hi"),
        ("max_output_tokens", 5),
        ("surprise", 1),
    ],
)
def test_what_we_do_not_have_is_refused_by_name(name: str, value: Any) -> None:
    assert refusal(lambda: parse(**{name: value})) == ("unsupported_parameter", name)


def test_log_probabilities_are_asked_for_with_a_flag() -> None:
    for nothing in ({}, {"logprobs": False}, {"top_logprobs": 0}, {"logprobs": None, "top_logprobs": None}):
        assert parse(**nothing).logprobs is None
    assert parse(logprobs=True).logprobs == 0
    assert parse(logprobs=True, top_logprobs=20).logprobs == 20
    assert refusal(lambda: parse(top_logprobs=2)) == ("invalid_value", "top_logprobs")
    assert refusal(lambda: parse(logprobs=True, top_logprobs=21)) == ("invalid_value", "top_logprobs")
    assert refusal(lambda: parse(logprobs=1)) == ("invalid_value", "logprobs")


def test_the_two_names_of_the_token_limit() -> None:
    assert parse(max_tokens=5).max_output_tokens == 5
    assert parse(max_tokens=5, max_completion_tokens=5).max_output_tokens == 5
    assert refusal(lambda: parse(max_tokens=5, max_completion_tokens=6)) == ("invalid_value", "max_tokens")
    assert refusal(lambda: parse(max_tokens=0)) == ("invalid_value", "max_tokens")


def test_stream_options_are_checked() -> None:
    assert refusal(lambda: parse(stream_options=1)) == ("invalid_value", "stream_options")
    wrong = {"include_usage": "yes"}
    assert refusal(lambda: parse(stream_options=wrong)) == ("invalid_value", "stream_options.include_usage")
    unknown = {"surprise": True}
    assert refusal(lambda: parse(stream_options=unknown)) == (
        "unsupported_parameter",
        "stream_options.surprise",
    )
