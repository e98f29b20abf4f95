"""Asking for a short-lived key."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.requests.client_secret import parse_client_secret
from tests.protocol.requests.refusal import refusal


@pytest.mark.parametrize(
    ("body", "life_s"),
    [
        ({}, 600),
        ({"expires_after": None, "session": None}, 600),
        ({"expires_after": {}}, 600),
        ({"expires_after": {"anchor": "created_at", "seconds": 10}}, 10),
        ({"expires_after": {"seconds": 7200}, "session": {"type": "realtime"}}, 7200),
    ],
)
def test_how_long_it_lives(body: dict[str, Any], life_s: int) -> None:
    assert parse_client_secret(body).life_s == life_s


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"expires_after": 60}, "invalid_value", "expires_after"),
        ({"expires_after": {"seconds": 9}}, "invalid_value", "expires_after.seconds"),
        ({"expires_after": {"seconds": 7201}}, "invalid_value", "expires_after.seconds"),
        ({"expires_after": {"anchor": "now"}}, "invalid_value", "expires_after.anchor"),
        ({"expires_after": {"days": 1}}, "unsupported_parameter", "expires_after.days"),
        ({"session": {"type": "transcription"}}, "invalid_value", "session.type"),
        ({"session": {"type": "realtime", "model": "m"}}, "unsupported_parameter", "session.model"),
        ({"surprise": 1}, "unsupported_parameter", "surprise"),
    ],
)
def test_what_is_refused(body: dict[str, Any], code: str, param: str) -> None:
    assert refusal(lambda: parse_client_secret(body)) == (code, param)
