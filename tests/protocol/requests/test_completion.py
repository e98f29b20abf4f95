"""Asking for a completion of a plain prompt."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.limits import Limits
from protocol.requests.completion import CompletionRequest, parse_completion
from tests.protocol.requests.refusal import refusal


def parse(**fields: Any) -> CompletionRequest:
    return parse_completion({"prompt": "Once", **fields}, Limits())


def test_a_prompt_is_enough() -> None:
    assert parse() == CompletionRequest(prompt="Once")
    assert parse(prompt=["Once"]) == parse()


def test_everything_we_have() -> None:
    fields = {"model": "m", "temperature": 0.0, "stream": True, "min_tokens": 2, "presence_penalty": 1.0}
    completion = parse(max_tokens=4, stream_options={"include_usage": True}, logit_bias={"2": 1}, **fields)
    assert completion == CompletionRequest(
        prompt="Once", max_output_tokens=4, include_usage=True, logit_bias=((2, 1.0),), **fields
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 1),
        ("best_of", 1),
        ("echo", False),
        ("suffix", ""),
        ("suffix", None),
    ],
)
def test_the_off_value_of_what_we_do_not_have_is_accepted(name: str, value: Any) -> None:
    assert parse(**{name: value}) == parse()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("best_of", 3),
        ("echo", True),
        ("suffix", "end"),
        ("messages", []),
        ("prompt", ["a", "b"]),
        ("prompt", [1, 2]),
        ("prompt", [[1, 2]]),
    ],
)
def test_what_we_do_not_have_is_refused_by_name(name: str, value: Any) -> None:
    assert refusal(lambda: parse(**{name: value})) == ("unsupported_parameter", name)


@pytest.mark.parametrize("prompt", ["", [], [""], 1, {}])
def test_a_prompt_that_is_none(prompt: Any) -> None:
    assert refusal(lambda: parse(prompt=prompt)) == ("invalid_value", "prompt")


def test_no_prompt() -> None:
    assert refusal(lambda: parse(prompt=None)) == ("missing_required_parameter", "prompt")


def test_log_probabilities_are_asked_for_with_a_number() -> None:
    assert parse(logprobs=None) == parse()
    assert [parse(logprobs=top).logprobs for top in (0, 5)] == [0, 5]
    for bad in (-1, 6, True):
        assert refusal(lambda bad=bad: parse(logprobs=bad)) == ("invalid_value", "logprobs")
