"""Asking for a verdict."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.limits import Limits
from protocol.requests.moderation import ModerationRequest, parse_moderations
from tests.protocol.requests.refusal import refusal


def parse(value: Any, **fields: Any) -> ModerationRequest:
    return parse_moderations({"input": value, **fields}, Limits())


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("a", ("a",)),
        ("", ("",)),
        (["a", "b"], ("a", "b")),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], ("a\nb",)),
    ],
)
def test_the_shapes_of_an_input(value: Any, texts: tuple[str, ...]) -> None:
    assert parse(value, model="m") == ModerationRequest(texts=texts, model="m")


@pytest.mark.parametrize(
    ("value", "code", "param"),
    [
        (None, "missing_required_parameter", "input"),
        ([], "invalid_value", "input"),
        (1, "invalid_value", "input"),
        (["a", 1], "invalid_value", "input[1]"),
        (["a", {"type": "text", "text": "b"}], "invalid_value", "input[1]"),
        ([{"type": "text", "text": "a"}, "b"], "invalid_value", "input[1]"),
        ([{"type": "image_url", "image_url": {"url": "u"}}], "unsupported_parameter", "input[0].type"),
        ([{"type": "poem"}], "invalid_value", "input[0].type"),
        ([{"text": "a"}], "missing_required_parameter", "input[0].type"),
        ([{"type": "text"}], "missing_required_parameter", "input[0].text"),
        ([{"type": "text", "text": "a", "x": 1}], "unsupported_parameter", "input[0].x"),
    ],
)
def test_an_input_that_is_refused(value: Any, code: str, param: str) -> None:
    assert refusal(lambda: parse(value)) == (code, param)


def test_an_unknown_parameter() -> None:
    assert refusal(lambda: parse("a", surprise=1)) == ("unsupported_parameter", "surprise")
