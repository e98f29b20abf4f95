"""The HTTP surface against a real server on loopback with the scripted engine."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.scripted import ScriptedEngine
from tests.app.serving import Served, serving
from tests.app.talk import talking, text_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as server:
        yield server


@pytest.fixture
async def slow() -> AsyncIterator[Served]:
    async with serving(ScriptedEngine(tokens_per_s=20)) as server:
        yield server


@pytest.fixture
async def client(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(served) as client:
        yield client


def client_of(served: Served) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=served.http, headers=served.headers, timeout=20)


def events_of(body: str) -> list[dict[str, Any]]:
    """The JSON of every data line of a stream, [DONE] left out."""
    lines = [line[6:] for line in body.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


async def test_a_response_as_json_can_be_read_again_and_deleted(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/responses", json={"input": "Hello there", "metadata": {"k": "v"}})
    assert answer.status_code == 200
    response = answer.json()
    assert response["status"] == "completed"
    assert response["output"][0]["content"][0]["text"] == "Hello there"
    assert response["metadata"] == {"k": "v"}
    assert answer.headers["x-request-id"].startswith("req_")
    path = f"/v1/responses/{response['id']}"
    assert (await client.get(path)).json() == response
    assert (await client.delete(path)).json() == {"id": response["id"], "object": "response", "deleted": True}
    for gone in (
        await client.get(path),
        await client.get(path, params={"stream": "true"}),
        await client.delete(path),
        await client.post(path + "/cancel"),
    ):
        assert gone.status_code == 404
        assert gone.json()["error"]["code"] == "response_not_found"


async def test_a_stream_has_the_events_of_the_socket(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/responses", json={"input": "Hello there", "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    events = events_of(answer.text)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert text_of(events) == "Hello there"
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"
    assert answer.text.startswith("event: response.created\ndata: {")


async def test_an_ended_stream_replays_whole_and_from_any_position(client: httpx.AsyncClient) -> None:
    events = events_of((await client.post("/v1/responses", json={"input": "a b c", "stream": True})).text)
    path = f"/v1/responses/{events[0]['response']['id']}"
    for after in range(-1, len(events)):
        params = {"stream": "true"} | ({"starting_after": str(after)} if after >= 0 else {})
        replay = events_of((await client.get(path, params=params)).text)
        assert replay == events[after + 1 :]


async def test_a_live_stream_is_joined_half_way_without_loss_or_repetition(slow: Served) -> None:
    async with client_of(slow) as client, talking(slow) as talk:
        await talk.create("a b c d e f g h i j k l")
        first = await talk.until("response.output_text.delta")
        path = f"/v1/responses/{first[0]['response']['id']}"
        params = {"stream": "true", "starting_after": "2"}
        replay = asyncio.create_task(client.get(path, params=params))
        rest = await talk.until("response.completed")
        assert events_of((await replay).text) == (first + rest)[3:]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"stream": "maybe"}, "stream"),
        ({"stream": "true", "starting_after": "x"}, "starting_after"),
        ({"stream": "true", "starting_after": "-2"}, "starting_after"),
        ({"starting_after": "1"}, "starting_after"),
        ({"include": "reasoning.encrypted_content"}, "include"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_bad_query_is_named(client: httpx.AsyncClient, params: dict[str, str], param: str) -> None:
    answer = await client.get("/v1/responses/resp_x", params=params)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_a_cancel_over_http_answers_after_the_end(slow: Served) -> None:
    async with client_of(slow) as client, talking(slow) as talk:
        await talk.create("word " * 500)
        begun = await talk.until("response.output_text.delta")
        path = f"/v1/responses/{begun[0]['response']['id']}"
        assert (await client.get(path)).json()["status"] == "in_progress"
        answer = (await client.post(path + "/cancel")).json()
        assert answer["status"] == "cancelled"
        events = begun + await talk.until("response.incomplete")
        assert answer["output"][0]["content"][0]["text"] == text_of(events)
        assert (await client.get(path)).json() == answer == events[-1]["response"]
        assert (await client.post(path + "/cancel")).json() == answer


async def test_hanging_up_on_a_stream_ends_the_response(slow: Served) -> None:
    async with client_of(slow) as client:
        async with client.stream(
            "POST", "/v1/responses", json={"input": "word " * 500, "stream": True}
        ) as answer:
            async for line in answer.aiter_lines():
                if "output_text.delta" in line:
                    break
        async with asyncio.timeout(5):
            await slow.service.hub.wait_idle()
        assert slow.service.hub.engine.stats().finished["cancelled"] == 1


async def test_hanging_up_on_a_waiting_request_ends_the_response(slow: Served) -> None:
    async with client_of(slow) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/v1/responses", json={"input": "word " * 500}, timeout=0.5)
        async with asyncio.timeout(5):
            await slow.service.hub.wait_idle()
        assert slow.service.hub.engine.stats().finished["cancelled"] == 1


async def test_input_tokens_agree_with_the_usage(client: httpx.AsyncClient) -> None:
    body = {"input": [{"role": "user", "content": "one two  three"}], "instructions": "Be brief."}
    counted = (await client.post("/v1/responses/input_tokens", json=body)).json()
    assert counted["object"] == "response.input_tokens"
    response = (await client.post("/v1/responses", json=body)).json()
    assert counted["input_tokens"] == response["usage"]["input_tokens"]
    follow = {"input": "four", "previous_response_id": response["id"]}
    counted = (await client.post("/v1/responses/input_tokens", json=follow)).json()
    assert (
        counted["input_tokens"]
        == (await client.post("/v1/responses", json=follow)).json()["usage"]["input_tokens"]
    )


async def test_a_chat_completion_as_json_and_as_a_stream(client: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello there"}]}
    answer = (await client.post("/v1/chat/completions", json=body)).json()
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "Hello there"
    assert answer["choices"][0]["finish_reason"] == "stop"
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    text = (await client.post("/v1/chat/completions", json=body)).text
    assert text.endswith("data: [DONE]\n\n")
    chunks = events_of(text)
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1]) == "Hello there"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    prompt = answer["usage"]["prompt_tokens"]
    assert answer["usage"].pop("prompt_tokens_details") == {"cached_tokens": 0}
    assert chunks[-1]["usage"].pop("prompt_tokens_details") == {"cached_tokens": prompt - 1}
    assert chunks[-1]["usage"] == answer["usage"]


async def test_a_completion_echoes_its_prompt_and_its_limit(client: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {"prompt": "one two three", "max_tokens": 2}
    answer = (await client.post("/v1/completions", json=body)).json()
    assert answer["choices"][0]["text"] == "one two"
    assert answer["choices"][0]["finish_reason"] == "length"
    chunks = events_of((await client.post("/v1/completions", json=body | {"stream": True})).text)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "one two"


async def test_models_name_the_one_that_serves(client: httpx.AsyncClient) -> None:
    models = (await client.get("/v1/models")).json()
    assert [model["id"] for model in models["data"]] == ["scripted"]
    assert (await client.get("/v1/models/scripted")).json() == models["data"][0]
    assert (await client.get("/v1/models/other")).status_code == 404


async def test_health_and_the_playground_need_no_key_and_all_else_does(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.http) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).status_code == 200
        page = await client.get("/")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        for method, path in [
            ("POST", "/v1/responses"),
            ("GET", "/v1/responses/resp_x"),
            ("DELETE", "/v1/responses/resp_x"),
            ("POST", "/v1/responses/resp_x/cancel"),
            ("POST", "/v1/responses/input_tokens"),
            ("POST", "/v1/chat/completions"),
            ("POST", "/v1/completions"),
            ("GET", "/v1/models"),
            ("POST", "/v1/load_lora_adapter"),
            ("POST", "/v1/unload_lora_adapter"),
            ("POST", "/v1/moderations"),
            ("POST", "/v1/realtime/client_secrets"),
            ("GET", "/metrics"),
            ("GET", "/openapi.json"),
            ("GET", "/asyncapi.json"),
        ]:
            answer = await client.request(method, path, content=b"not json")
            assert answer.status_code == 401, path
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_wrong_paths_and_methods_answer_in_the_same_shape(client: httpx.AsyncClient) -> None:
    missing = await client.get("/v1/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    wrong = await client.put("/v1/responses", json={})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "POST" in wrong.headers["allow"]
    assert missing.json()["request_id"] == missing.headers["x-request-id"]


async def test_a_body_over_the_limit_is_refused_and_at_the_limit_is_not(served: Served) -> None:
    most = served.service.config.max_body_bytes
    head = b'{"input":"x"'

    async def in_chunks(size: int) -> AsyncIterator[bytes]:
        yield head + b" " * (size - len(head) - 1) + b"}"

    async with client_of(served) as client:
        for size, status in [(most - 1, 200), (most, 200), (most + 1, 413)]:
            body = head + b" " * (size - len(head) - 1) + b"}"
            assert (await client.post("/v1/responses", content=body)).status_code == status
            assert (await client.post("/v1/responses", content=in_chunks(size))).status_code == status


async def test_metrics_count_what_was_served(client: httpx.AsyncClient) -> None:
    await client.post("/v1/responses", json={"input": "one two three"})
    text = (await client.get("/metrics")).text
    assert 'sluice_responses_total{status="completed"} 1.0' in text
    assert 'vllm:generation_tokens_total{model_name="scripted"} 3.0' in text
    for guessed in ("drafts", "draft_tokens", "accepted_tokens"):
        assert f'vllm:spec_decode_num_{guessed}_total{{model_name="scripted"}} 0.0' in text
    sums = {
        name: float(value)
        for name, value in re.findall(r"^gen_ai_server_(\w+)_seconds_sum (\S+)$", text, re.MULTILINE)
    }
    assert "gen_ai_server_time_to_first_token_seconds_count 1.0" in text
    behind_first = sums["request_duration"] - sums["time_to_first_token"]
    assert sums["time_per_output_token"] == pytest.approx(behind_first / 2)


async def test_metrics_have_the_names_that_boards_for_vllm_ask_for(client: httpx.AsyncClient) -> None:
    await client.post("/v1/responses", json={"input": "one two three"})
    text = (await client.get("/metrics")).text
    of = {
        (sample.name, sample.labels.get("finished_reason"), sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("model_name") == "scripted"
    }
    values = {name: value for (name, reason, bound), value in of.items() if reason is bound is None}
    for histogram in (
        *("request_queue_time_seconds", "request_prefill_time_seconds", "request_decode_time_seconds"),
        *("request_inference_time_seconds", "e2e_request_latency_seconds", "time_to_first_token_seconds"),
        *("request_time_per_output_token_seconds", "request_prompt_tokens", "request_generation_tokens"),
    ):
        assert values[f"vllm:{histogram}_count"] == of[f"vllm:{histogram}_bucket", None, "+Inf"] == 1
    assert values["vllm:inter_token_latency_seconds_count"] == 2
    assert values["vllm:iteration_tokens_total_sum"] == values["vllm:generation_tokens_total"] == 3
    assert values["vllm:prompt_tokens_total"] == values["vllm:prefix_cache_queries_total"] > 0
    for none in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"):
        assert values[f"vllm:{none}"] == 0
    assert values["vllm:prefix_cache_hits_total"] == values["vllm:num_preemptions_total"] == 0
    ended = {reason: value for (name, reason, _), value in of.items() if name == "vllm:request_success_total"}
    assert ended == {"stop": 1, "length": 0, "abort": 0, "error": 0}


async def test_moderation_answers_in_the_standards_shape(client: httpx.AsyncClient) -> None:
    body = {"input": ["hello", "my card is 4111 1111 1111 1111"]}
    answer = (await client.post("/v1/moderations", json=body)).json()
    assert [result["flagged"] for result in answer["results"]] == [False, True]
    assert answer["results"][0]["categories"]["violence"] is False


async def test_a_browsers_key_opens_a_socket_and_makes_no_other(served: Served) -> None:
    from websockets.asyncio.client import connect

    async with client_of(served) as client:
        made = (await client.post("/v1/realtime/client_secrets", json={})).json()
        assert made["value"].startswith("ek_")
        carried = [f"openai-insecure-api-key.{made['value']}"]
        async with connect(
            served.ws + "/v1/responses",
            subprotocols=["sluice.v1.json", *carried],  # type: ignore[list-item]
            origin=served.http,  # type: ignore[arg-type]
        ) as socket:
            assert socket.subprotocol == "sluice.v1.json"
            await socket.send('{"type":"response.create","input":"hi"}')
            assert json.loads(await socket.recv())["type"] == "response.created"
        headers = {"authorization": f"Bearer {made['value']}"}
        again = await client.post("/v1/realtime/client_secrets", json={}, headers=headers)
        assert (again.status_code, again.json()["error"]["code"]) == (403, "insufficient_scope")
