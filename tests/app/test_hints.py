"""Answers that say what to do: a wrong path, a value that is not there, what counts where nothing is said."""

from __future__ import annotations

from typing import Any

import pytest

from tests.app.dialects import client_of, take_turn
from tests.app.serving import serving

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/responses", "/v1/responses is there: end the client's base URL with /v1"),
        ("/chat/completions", "/v1/chat/completions is there"),
        ("/models", "/v1/models is there"),
        ("/v1/v1/responses", "See /openapi.json"),
        ("/elsewhere", "See /openapi.json"),
        ("/v1/elsewhere", "See /openapi.json"),
    ],
)
async def test_a_base_url_without_its_version_is_told_the_way(path: str, hint: str) -> None:
    async with serving() as served, client_of(served) as client:
        for answer in (await client.post(path, json={"input": "hi"}), await client.get(path)):
            assert answer.status_code == 404
            assert hint in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("background", True, "the value true: leave it out, or send false"),
        ("reasoning", {"effort": "high"}, 'the value "high": leave it out, or send "none"'),
        ("prompt_cache_options", {"mode": "x" * 1000}, 'leave it out, or send {} or {"mode":"implicit"}'),
        ("conversation", "conv_1", "is not supported: continue a response by 'previous_response_id'."),
    ],
)
async def test_a_value_that_is_not_there_is_named_with_those_that_are(
    field: str, value: Any, words: str
) -> None:
    async with serving() as served:
        outcome = await take_turn(served, "json", "hi", **{field: value})
    assert outcome.code == "unsupported_parameter"
    assert words in outcome.error["message"]
    assert len(outcome.error["message"]) < 400


async def test_a_model_says_what_counts_where_a_request_says_nothing() -> None:
    async with serving() as served, client_of(served) as client:
        [model] = (await client.get("/v1/models")).json()["data"]
        response = (await client.post("/v1/responses", json={"input": "hi"})).json()
    assert model["defaults"] == {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
    assert response["temperature"] == model["defaults"]["temperature"]
