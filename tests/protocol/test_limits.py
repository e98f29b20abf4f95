"""Each limit of a request at, under and over its value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol.limits import ConnectionLimits, Limits
from protocol.requests.chat import parse_chat
from protocol.requests.create import parse_create
from protocol.requests.moderation import parse_moderations
from tests.protocol.requests.refusal import refusal

LIMITS = Limits(
    max_input_items=3,
    max_parts=3,
    max_stop=3,
    max_stop_chars=3,
    max_output_tokens=3,
    max_metadata_pairs=3,
    max_metadata_key_chars=3,
    max_metadata_value_chars=3,
    max_label_chars=3,
    max_moderation_inputs=3,
)


def create(**fields: Any) -> object:
    return parse_create({"input": "hi", **fields}, LIMITS, socket=True)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


SIZED: dict[str, tuple[Callable[[int], object], str]] = {
    "items": (lambda n: create(input=[user("x")] * n), "input"),
    "chat messages": (lambda n: parse_chat({"messages": [user("x")] * n}, LIMITS), "messages"),
    "parts": (lambda n: create(input=[user([{"type": "text", "text": "x"}] * n)]), "input[0].content"),
    "stop": (lambda n: create(stop=["x"] * n), "stop"),
    "stop chars": (lambda n: create(stop="x" * n), "stop"),
    "stop chars in a list": (lambda n: create(stop=["x" * n]), "stop[0]"),
    "output tokens": (lambda n: create(max_output_tokens=n), "max_output_tokens"),
    "least tokens": (lambda n: create(min_tokens=n), "min_tokens"),
    "metadata pairs": (lambda n: create(metadata={str(key): "x" for key in range(n)}), "metadata"),
    "metadata key": (lambda n: create(metadata={"x" * n: "x"}), "metadata"),
    "metadata value": (lambda n: create(metadata={"k": "x" * n}), "metadata.k"),
    "model": (lambda n: create(model="x" * n), "model"),
    "previous_response_id": (lambda n: create(previous_response_id="x" * n), "previous_response_id"),
    "event_id": (lambda n: create(event_id="x" * n), "event_id"),
    "safety_identifier": (lambda n: create(safety_identifier="x" * n), "safety_identifier"),
    "user": (lambda n: create(user="x" * n), "user"),
    "prompt_cache_key": (lambda n: create(prompt_cache_key="x" * n), "prompt_cache_key"),
    "moderation inputs": (lambda n: parse_moderations({"input": ["x"] * n}, LIMITS), "input"),
    "moderation parts": (
        lambda n: parse_moderations({"input": [{"type": "text", "text": "x"}] * n}, LIMITS),
        "input",
    ),
}


@pytest.mark.parametrize("name", SIZED)
def test_under_at_and_over(name: str) -> None:
    parse, param = SIZED[name]
    parse(2)
    parse(3)
    assert refusal(lambda: parse(4)) == ("invalid_value", param)


@pytest.mark.parametrize("name", Limits.__slots__)
def test_a_request_limit_is_at_least_one(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})


@pytest.mark.parametrize("name", ConnectionLimits.__slots__)
def test_a_connection_limit_is_above_nothing(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        ConnectionLimits(**{name: 0})
