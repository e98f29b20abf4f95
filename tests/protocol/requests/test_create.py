"""Asking for a response."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from protocol.codes import ProtocolError
from protocol.limits import Limits
from protocol.requests.create import CreateResponse, parse_create, parse_input_tokens
from protocol.requests.message import Message
from tests.protocol.requests.refusal import refusal

LIMITS = Limits()
HI = (Message("user", "hi"),)

OFF: dict[str, list[Any]] = {
    "access_programs": [{}],
    "background": [False],
    "background_options": [{}],
    "context_management": [[]],
    "conversation": [],
    "draft": [],
    "image": [{}, {"context_compression": "auto"}],
    "max_tool_calls": [],
    "moderation": [],
    "parallel_tool_calls": [True],
    "prompt": [],
    "prompt_cache_options": [{}, {"mode": "implicit"}],
    "prompt_cache_retention": ["in_memory"],
    "reasoning": [{}, {"effort": None}, {"effort": "none", "summary": None}, {"context": "auto"}],
    "stream_options": [{}, {"include_obfuscation": False}],
    "text": [{}, {"format": {"type": "text"}}, {"format": None, "verbosity": "medium"}],
    "tool_choice": ["auto"],
    "tools": [[]],
}
ON: list[tuple[str, Any, str]] = [
    ("access_programs", {"cyber": "standard"}, "access_programs"),
    ("background", True, "background"),
    ("background", 0, "background"),
    ("background_options", {"completion_window": "2h"}, "background_options"),
    ("context_management", [{"type": "compaction"}], "context_management"),
    ("conversation", "conv_1", "conversation"),
    ("draft", {"revision": 1}, "draft"),
    ("image", {"context_compression": "enabled"}, "image"),
    ("include", ["file_search_call.results"], "include[0]"),
    ("include", ["message.output_text.logprobs", "x"], "include[1]"),
    ("max_tool_calls", 1, "max_tool_calls"),
    ("moderation", {"model": "omni-moderation-latest"}, "moderation"),
    ("prompt", {"id": "pmpt_1"}, "prompt"),
    ("prompt_cache_options", {"mode": "explicit"}, "prompt_cache_options"),
    ("prompt_cache_retention", "24h", "prompt_cache_retention"),
    ("reasoning", {"effort": "high"}, "reasoning.effort"),
    ("reasoning", {"summary": "auto"}, "reasoning.summary"),
    ("reasoning", {"surprise": 1}, "reasoning.surprise"),
    ("stream_options", {"include_obfuscation": True}, "stream_options.include_obfuscation"),
    ("stream_options", {"include_usage": True}, "stream_options.include_usage"),
    ("text", {"format": {"type": "grammar"}}, "text.format.type"),
    ("structured_outputs", {"choice": ["a", "b"]}, "structured_outputs.choice"),
    ("structured_outputs", {"surprise": 1}, "structured_outputs.surprise"),
    ("text", {"verbosity": "low"}, "text.verbosity"),
    ("tool_choice", {"type": "allowed_tools", "mode": "auto", "tools": []}, "tool_choice"),
    ("tools", [{"type": "web_search"}], "tools[0].type"),
    ("messages", [{"role": "user", "content": "hi"}], "messages"),
    ("max_tokens", 5, "max_tokens"),
    ("surprise", 0, "surprise"),
    ("", 0, ""),
]
NUMBERS: list[tuple[str, list[Any], list[Any]]] = [
    ("temperature", [0, 0.0, 1, 2, 2.0], [-0.1, 2.1, True, "1", [], 10**400]),
    ("top_p", [0, 0.5, 1], [-0.01, 1.01, False, "1"]),
    ("min_p", [0, 0.5, 1], [-0.01, 1.01, True, {}]),
    ("top_k", [0, 1, 2**31 - 1], [-1, 2**31, 1.0, 1.5, True, "1"]),
    ("seed", [0, -1, -(2**63), 2**63 - 1], [-(2**63) - 1, 2**63, 0.5, True, "1"]),
    ("presence_penalty", [0, -2, 1.5, 2], [-2.1, 2.01, True, "1"]),
    ("frequency_penalty", [0, 0.0, -2, 2], [-2.1, 2.01, False, []]),
    ("repetition_penalty", [0.01, 1, 1.3, 100], [0, -1, 100.1, True, "1"]),
    ("min_tokens", [0, 1, 2**31 - 1], [-1, 2**31, 1.5, True, "1"]),
    ("max_output_tokens", [1, 16, 2**31 - 1], [0, -1, 2**31, 1.0, True, "1"]),
]


def parse(socket: bool = False, limits: Limits = LIMITS, **fields: Any) -> CreateResponse:
    return parse_create({"input": "hi", **fields}, limits, socket=socket)


def test_an_input_is_enough() -> None:
    assert parse() == CreateResponse(messages=HI)


def test_everything_we_have() -> None:
    create = parse(
        socket=True,
        model="m",
        instructions="Be brief.",
        previous_response_id="resp_1",
        store=False,
        generate=False,
        stream_id="a",
        event_id="e1",
        temperature=1,
        top_p=0.5,
        top_k=40,
        min_p=0.1,
        seed=-3,
        stop=["a", "b"],
        ignore_eos=True,
        presence_penalty=-1,
        frequency_penalty=0.5,
        repetition_penalty=1.1,
        logit_bias={"7": 2, "3": -100},
        min_tokens=7,
        max_output_tokens=7,
        truncation="auto",
        metadata={"k": "v"},
        safety_identifier="s",
        prompt_cache_key="p",
    )
    assert create == CreateResponse(
        messages=HI,
        model="m",
        instructions="Be brief.",
        previous_response_id="resp_1",
        stream=True,
        store=False,
        generate=False,
        stream_id="a",
        event_id="e1",
        temperature=1.0,
        top_p=0.5,
        top_k=40,
        min_p=0.1,
        seed=-3,
        stop=("a", "b"),
        ignore_eos=True,
        presence_penalty=-1.0,
        frequency_penalty=0.5,
        repetition_penalty=1.1,
        logit_bias=((3, -100.0), (7, 2.0)),
        min_tokens=7,
        max_output_tokens=7,
        truncation="auto",
        metadata={"k": "v"},
        safety_identifier="s",
        prompt_cache_key="p",
    )
    assert isinstance(create.temperature, float)


def test_null_is_the_same_as_absent() -> None:
    names = [name for name in CreateResponse.__struct_fields__ if name not in ("messages", "stream")]
    assert parse(socket=True, **dict.fromkeys(names), stream=None).messages == HI
    assert parse(**dict.fromkeys([*names, "stream", *OFF, "nobody knows this"])) == parse()


@pytest.mark.parametrize("name", OFF)
def test_the_off_value_of_what_we_do_not_have_is_accepted(name: str) -> None:
    for value in [None, *OFF[name]]:
        assert parse(**{name: value}) == parse()


@pytest.mark.parametrize(("name", "value", "param"), ON)
def test_what_we_do_not_have_is_refused_by_name(name: str, value: Any, param: str) -> None:
    assert refusal(lambda: parse(**{name: value})) == ("unsupported_parameter", param)


@pytest.mark.parametrize("name", ["text", "reasoning", "stream_options"])
def test_an_object_that_is_none_is_refused(name: str) -> None:
    assert refusal(lambda: parse(**{name: []})) == ("invalid_value", name)


@pytest.mark.parametrize(("name", "good", "bad"), NUMBERS)
def test_numbers_at_under_and_over_their_range(name: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert getattr(parse(**{name: value}), name) == value
    for value in bad:
        assert refusal(lambda value=value: parse(**{name: value})) == ("invalid_value", name)


@pytest.mark.parametrize(
    ("bias", "param"),
    [
        ([], "logit_bias"),
        ({str(token): 1 for token in range(1025)}, "logit_bias"),
        ({"a": 1}, "logit_bias"),
        ({"-1": 1}, "logit_bias"),
        ({"01": 1}, "logit_bias"),
        ({"٣": 1}, "logit_bias"),
        ({"5": 100.1}, "logit_bias.5"),
        ({"5": "1"}, "logit_bias.5"),
        ({"5": True}, "logit_bias.5"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_bias_that_is_none_is_refused_by_name(bias: Any, param: str) -> None:
    assert refusal(lambda: parse(logit_bias=bias)) == ("invalid_value", param)


def test_a_bias_counts_where_it_has_a_value() -> None:
    most = {str(token): -100 for token in range(1024)}
    assert len(parse(logit_bias=most).logit_bias) == 1024
    assert parse(logit_bias={"3": None, "10": 0.5, "9": 1}).logit_bias == ((9, 1.0), (10, 0.5))
    assert parse(logit_bias={}) == parse()


def test_log_probabilities_are_included_when_asked_for() -> None:
    include = ["message.output_text.logprobs"]
    for nothing in ({}, {"include": []}, {"top_logprobs": 0}, {"include": [], "top_logprobs": 0}):
        assert parse(**nothing) == parse()
    assert parse(include=include).logprobs == 0
    assert parse(include=include, top_logprobs=20).logprobs == 20
    for bad in (21, -1, True, "1"):
        assert refusal(lambda bad=bad: parse(include=include, top_logprobs=bad)) == (
            "invalid_value",
            "top_logprobs",
        )
    assert refusal(lambda: parse(top_logprobs=3)) == ("invalid_value", "top_logprobs")
    for bad in ("message.output_text.logprobs", [1], {}):
        assert refusal(lambda bad=bad: parse(include=bad)) == ("invalid_value", "include")


def test_the_least_length_is_within_the_token_limit() -> None:
    assert parse(min_tokens=4, max_output_tokens=4).min_tokens == 4
    assert refusal(lambda: parse(min_tokens=5, max_output_tokens=4)) == ("invalid_value", "min_tokens")


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("model", 1),
        ("instructions", ["Be brief."]),
        ("previous_response_id", ""),
        ("store", "true"),
        ("store", 1),
        ("generate", 0),
        ("stream", "yes"),
        ("ignore_eos", 1),
        ("truncation", "middle"),
        ("truncation", 1),
        ("parallel_tool_calls", 1),
        ("stop", ""),
        ("stop", 1),
        ("stop", {}),
        ("metadata", []),
        ("metadata", "k=v"),
        ("safety_identifier", 5),
        ("service_tier", "scale"),
        ("service_tier", 1),
        ("user", 5),
        ("prompt_cache_key", {}),
    ],
)
def test_a_wrong_type_or_value_is_refused_by_name(name: str, bad: Any) -> None:
    assert refusal(lambda: parse(**{name: bad})) == ("invalid_value", name)


def test_the_older_user_names_the_safety_identifier() -> None:
    assert parse(user="u").safety_identifier == "u"
    assert parse(user="u", safety_identifier="s").safety_identifier == "s"


def test_a_stop_string_alone_or_none_at_all() -> None:
    assert parse(stop="END").stop == ("END",)
    assert parse(stop=[]).stop == ()
    assert refusal(lambda: parse(stop=["a", ""])) == ("invalid_value", "stop[1]")
    assert refusal(lambda: parse(stop=["a", 1])) == ("invalid_value", "stop[1]")


def test_metadata_is_string_to_string() -> None:
    assert refusal(lambda: parse(metadata={"k": 1})) == ("invalid_value", "metadata.k")
    assert refusal(lambda: parse(metadata={"k": None})) == ("invalid_value", "metadata.k")


def test_a_long_unknown_name_is_not_echoed_whole() -> None:
    _, param = refusal(lambda: parse(**{"x" * 100_000: 1}))
    assert param == "x" * 128


@pytest.mark.parametrize("name", ["stream_id", "event_id"])
def test_what_belongs_to_a_socket_is_refused_over_http(name: str) -> None:
    assert refusal(lambda: parse(**{name: "a"})) == ("unsupported_parameter", name)


def test_stream_is_implied_on_a_socket() -> None:
    assert parse(socket=True).stream
    assert parse(socket=True, stream=True).stream
    assert refusal(lambda: parse(socket=True, stream=False)) == ("unsupported_parameter", "stream")
    assert not parse().stream
    assert parse(stream=True).stream


@pytest.mark.parametrize("name", ["a", "A.b-c_9", "x" * 256])
def test_a_lane_name(name: str) -> None:
    assert parse(socket=True, stream_id=name).stream_id == name


@pytest.mark.parametrize("name", ["", "x" * 257, "a b", "a\n", "ä", "a/b", 'a"', 1, True, []])
def test_no_lane_name(name: Any) -> None:
    assert refusal(lambda: parse(socket=True, stream_id=name)) == ("invalid_value", "stream_id")


@pytest.mark.parametrize("conversation", ["conv_1", {"id": "conv_1"}, []])
def test_who_names_a_conversation_is_told_how_one_goes_on(conversation: Any) -> None:
    body = {"input": "hi", "conversation": conversation}
    for parse in (partial(parse_create, socket=False), parse_input_tokens):
        with pytest.raises(ProtocolError) as refused:
            parse(body, LIMITS)
        assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "conversation")
        assert "'previous_response_id'" in str(refused.value)


def test_counting_tokens_reads_the_same_input() -> None:
    count = parse_input_tokens(
        {"input": "hi", "model": "m", "instructions": "i", "previous_response_id": "r", "truncation": "auto"},
        LIMITS,
    )
    assert (count.messages, count.model, count.instructions) == (HI, "m", "i")
    assert (count.previous_response_id, count.truncation) == ("r", "auto")


def test_counting_tokens_accepts_what_is_off_and_refuses_the_rest() -> None:
    off = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": False, "text": {}, "reasoning": {}}
    assert parse_input_tokens({"input": "hi", **off, "personality": None}, LIMITS).messages == HI
    for name, value in {"personality": "friendly", "conversation": "c", "temperature": 1, "x": 1}.items():
        body = {"input": "hi", name: value}
        assert refusal(lambda body=body: parse_input_tokens(body, LIMITS)) == ("unsupported_parameter", name)
    assert refusal(lambda: parse_input_tokens({}, LIMITS)) == ("missing_required_parameter", "input")
