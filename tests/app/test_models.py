"""Several models in one process: chosen by name, loaded and unloaded while others serve."""

from __future__ import annotations

import asyncio
import re
import threading
import weakref
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

import app.main
from app.config import Config
from app.engines import Built, Share, build_default, build_further
from app.model_ids import further_models
from app.settings import ConfigError
from app.store.record import StoredResponse
from app.store.responses import ResponseStore
from engine import template_trial
from engine.progress import Progress
from engine.request import ChatMessage
from engine.scripted import ScriptedEngine
from tests.app.dialects import DIALECTS, client_of, take_turn
from tests.app.serving import Served, config_for, serving
from tests.app.talk import talking
from tests.engine.test_template_trial import ENDLESS
from tests.engine.tiny_chat import save_tiny_chat
from tests.protocol.validation import validate

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_chat(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """Two models that say the same at their own pace; more may be loaded from the test's folder."""
    async with serving(models="other=scripted", model_dirs=tmp_path) as server:
        yield server


async def states(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    answer = await client.get("/v1/admin/models")
    validate(answer.content, "AdminModelList")
    return {one["id"]: one for one in answer.json()["data"]}


async def until(client: httpx.AsyncClient, model_id: str, *wanted: str) -> dict[str, Any]:
    """The model's entry once it is in one of these states; `gone` where there is none."""
    async with asyncio.timeout(30):
        while True:
            entry = (await states(client)).get(model_id, {"state": "gone"})
            if entry["state"] in wanted:
                return entry
            await asyncio.sleep(0.01)


async def load(client: httpx.AsyncClient, model_id: str, source: object) -> httpx.Response:
    return await client.put(f"/v1/admin/models/{model_id}", json={"source": str(source)})


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_dialect_names_its_model_or_gets_the_default_one(served: Served, dialect: str) -> None:
    models = {one.id: one.engine for one in served.service.hub.models.ready}
    for fields, chosen in (
        ({}, "scripted"),
        ({"model": "other"}, "other"),
        ({"model": "scripted"}, "scripted"),
    ):
        before = {model_id: engine.stats().prompt_tokens for model_id, engine in models.items()}
        outcome = await take_turn(served, dialect, "hello", **fields)
        assert outcome.text == "hello"
        grown = [name for name, engine in models.items() if engine.stats().prompt_tokens > before[name]]
        assert grown == [chosen]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_unknown_model_is_refused_with_those_that_there_are(served: Served, dialect: str) -> None:
    outcome = await take_turn(served, dialect, "hello", model="nobody")
    assert (outcome.end, outcome.code, outcome.status) == ("refused", "model_not_found", 404)
    assert "'nobody'; this server has 'scripted', 'other'" in outcome.error["message"]


async def test_models_are_listed_the_default_one_first(served: Served) -> None:
    async with client_of(served) as client:
        listed = await client.get("/v1/models")
        validate(listed.content, "ModelList")
        assert [one["id"] for one in listed.json()["data"]] == ["scripted", "other"]
        assert listed.json()["data"][1]["max_model_len"] == 131_072
        other = (await client.get("/v1/models/other")).json()
        assert other == listed.json()["data"][1]
        assert refusal(await client.get("/v1/models/nobody"))[:2] == (404, "model_not_found")
        assert (await client.get("/readyz")).json()["engine"] == "ok"


async def test_tokens_are_counted_by_the_model_that_is_named(served: Served) -> None:
    async with client_of(served) as client:
        body = {"input": "hello", "model": "other"}
        assert (await client.post("/v1/responses/input_tokens", json=body)).json()["input_tokens"] > 0
        answer = await client.post("/v1/responses/input_tokens", json=body | {"model": "nobody"})
        assert refusal(answer)[:2] == (404, "model_not_found")


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ("", "No model is called ''"),
        ("gpt-9", "No model is called 'gpt-9'"),
        ("other:poet", "The model 'other' has no adapter 'poet'"),
    ],
)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"input": "hi"}),
        ("/v1/responses/input_tokens", {"input": "hi"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/completions", {"prompt": "hi"}),
    ],
)
async def test_whoever_names_no_served_model_is_told_which_there_are(
    path: str, body: dict[str, Any], asked: str, what: str, served: Served
) -> None:
    async with client_of(served) as client:
        error = (await client.post(path, json=body | {"model": asked})).json()["error"]
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        told = "this server has 'scripted', 'other'. Name one of them, or leave 'model' out for 'scripted'."
        assert error["message"] == f"{what}; {told}"
        assert (await client.post(path, json=body | {"model": None})).status_code == 200


async def test_a_conversation_goes_on_with_another_model_and_comes_back(folder: Path, tmp_path: Path) -> None:
    settings = {"cache_dir": tmp_path, "dtype": "float32", "kv_memory_mib": 16}
    async with serving(models=f"tiny={folder}", **settings) as served, client_of(served) as client:
        tiny = {"model": "tiny", "max_output_tokens": 4, "ignore_eos": True}
        parent: str | None = None
        for fields in ({}, tiny, tiny, {}, tiny):
            body = {"input": "go on", "previous_response_id": parent, **fields}
            response = (await client.post("/v1/responses", json=body)).json()
            assert response["model"] == fields.get("model", "scripted")
            assert response["status"] in ("completed", "incomplete")
            parent = response["id"]
        again = (
            await client.post("/v1/responses", json={"input": "last", "previous_response_id": parent})
        ).json()
        assert again["output"][0]["content"][0]["text"] == "last"


async def test_a_conversation_goes_on_when_another_folder_has_taken_its_models_id(
    folder: Path, tmp_path: Path
) -> None:
    other = save_tiny_chat(tmp_path / "other", "{% for m in messages %}{{ m.content }}\n{% endfor %}")
    settings = {"cache_dir": tmp_path, "dtype": "float32", "kv_memory_mib": 16}
    settings["model_dirs"] = f"{folder.parent},{tmp_path}"
    async with serving(**settings) as served, client_of(served) as client:
        body: dict[str, Any] = {"model": "tiny", "input": "hi", "max_output_tokens": 4, "ignore_eos": True}
        await load(client, "tiny", folder)
        await until(client, "tiny", "ready")
        first = (await client.post("/v1/responses", json=body)).json()
        await client.delete("/v1/admin/models/tiny")
        await until(client, "tiny", "gone")
        await load(client, "tiny", other)
        await until(client, "tiny", "ready")
        second = (
            await client.post("/v1/responses", json=body | {"previous_response_id": first["id"]})
        ).json()
        tokenizer = served.service.hub.models.serving("tiny").engine.tokenizer
        reply = first["output"][0]["content"][0]["text"]
        talk = [ChatMessage("user", "hi"), ChatMessage("assistant", reply), ChatMessage("user", "hi")]
        assert reply
        assert second["usage"]["input_tokens"] == len(tokenizer.encode_chat(talk))


async def test_a_model_comes_and_goes_while_another_serves(folder: Path, tmp_path: Path) -> None:
    settings = {"cache_dir": tmp_path, "dtype": "float32", "kv_memory_mib": 16, "model_dirs": folder.parent}
    engine = ScriptedEngine(tokens_per_s=20, model_id="slow")
    async with serving(engine, **settings) as served, client_of(served) as client, talking(served) as talk:
        await talk.create("these words are said while the other one comes and goes")
        answer = await load(client, "tiny", folder)
        assert answer.status_code == 202
        validate(answer.content, "AdminModel")
        entry = await until(client, "tiny", "ready")
        assert entry["bytes"] > 16 << 20
        fields = {"model": "tiny", "max_output_tokens": 5, "ignore_eos": True, "store": False}
        outcome = await take_turn(served, "json", "hello", **fields)
        assert outcome.end == "length"
        text = (await client.get("/metrics")).text
        assert 'vllm:generation_tokens_total{model_name="tiny"} 5.0' in text
        assert 'vllm:request_generation_tokens_count{model_name="tiny"} 1.0' in text
        loaded = served.service.hub.models.serving("tiny")
        decoder = weakref.ref(loaded.engine._runner._model)  # type: ignore[attr-defined]
        weight = weakref.ref(loaded.engine._runner._model._embedding)  # type: ignore[attr-defined]
        pool = weakref.ref(loaded.engine._runner._cache.pools[0])  # type: ignore[attr-defined]
        gone = weakref.ref(loaded)
        del loaded
        assert (await client.delete("/v1/admin/models/tiny")).json()["state"] == "unloading"
        await until(client, "tiny", "gone")
        assert (decoder(), weight(), pool(), gone()) == (None, None, None, None), "free without a collection"
        assert 'model_name="tiny"' not in (await client.get("/metrics")).text
        assert refusal(await client.get("/v1/models/tiny"))[:2] == (404, "model_not_found")
        assert (await talk.until("response.completed"))[-1]["type"] == "response.completed"


class Gate:
    """Holds up the building of further engines until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.asked = threading.Event()
        monkeypatch.setattr(app.main, "build_further", self._build)

    def _build(
        self, config: Config, model_id: str, source: str, planned: Mapping[str, Share], progress: Progress
    ) -> Built:
        progress("Reading", 3, 10)
        self.asked.set()
        assert self.open.wait(20)
        return build_further(config, model_id, source, planned, progress)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


async def test_who_asks_a_model_that_is_being_loaded_is_told_to_come_back(gate: Gate) -> None:
    async with serving() as served, client_of(served) as client:
        await load(client, "late", "scripted")
        await asyncio.to_thread(gate.asked.wait, 20)
        entry = (await states(client))["late"]
        assert (entry["state"], entry["doing"], entry["done"], entry["total"]) == (
            "loading",
            "Reading",
            3,
            10,
        )
        for dialect in DIALECTS:
            outcome = await take_turn(served, dialect, "hello", model="late")
            assert (outcome.end, outcome.code, outcome.status) == ("refused", "model_loading", 503)
            if outcome.headers:
                assert int(outcome.headers["retry-after"]) >= 1
        assert [one["id"] for one in (await client.get("/v1/models")).json()["data"]] == ["scripted"]
        assert refusal(await load(client, "late", "scripted"))[1] == "invalid_value"
        assert refusal(await client.delete("/v1/admin/models/late"))[:2] == (503, "model_loading")
        gate.open.set()
        await until(client, "late", "ready")
        assert (await take_turn(served, "json", "hello", model="late")).text == "hello"


async def test_a_server_that_ends_does_not_wait_for_what_it_loads(gate: Gate) -> None:
    async with serving() as served, client_of(served) as client:
        await load(client, "late", "scripted")
        await asyncio.to_thread(gate.asked.wait, 20)
    gate.open.set()


async def test_an_unloading_model_finishes_its_replies_within_the_grace_time(served: Served) -> None:
    slow = ScriptedEngine(tokens_per_s=50, model_id="slow")
    served.service.hub.models.add(Built(slow), "scripted")
    async with client_of(served) as client, talking(served) as talk:
        await talk.create("this reply is finished before its model goes", model="slow")
        await talk.until("response.output_text.delta")
        assert (await client.delete("/v1/admin/models/slow")).status_code == 202
        refused = await take_turn(served, "json", "too late", model="slow")
        assert refused.code == "model_not_found"
        message = refusal(await load(client, "slow", "scripted"))[2]
        assert message == "There is a model 'slow' (unloading); wait until that has ended."
        assert (await talk.until("response.completed"))[-1]["type"] == "response.completed"
        await until(client, "slow", "gone")
        assert slow.stats().pages_used == 0


@pytest.mark.parametrize("model_id", ["x/../y", "a//b", "a/./b", "a/..", "a/"])
async def test_an_id_that_clients_would_rewrite_in_a_path_is_refused(served: Served, model_id: str) -> None:
    async with client_of(served) as client:
        answer = await load(client, model_id.replace("/", "%2F"), "scripted")
        assert refusal(answer)[:2] == (400, "invalid_value")
        assert f"{model_id!r} is not a model's id" in refusal(answer)[2]
    with pytest.raises(ConfigError, match="not a model's id"):
        further_models([f"{model_id}=scripted"])


async def test_past_the_grace_time_replies_are_cancelled() -> None:
    async with serving(drain_grace_s=0) as served, client_of(served) as client, talking(served) as talk:
        served.service.hub.models.add(Built(ScriptedEngine(tokens_per_s=1, model_id="slow")), "scripted")
        await talk.create("one two three four five six seven", model="slow")
        await talk.until("response.output_text.delta")
        await client.delete("/v1/admin/models/slow")
        ended = (await talk.until("response.incomplete"))[-1]
        assert ended["response"]["status"] == "cancelled"
        await until(client, "slow", "gone")


class FailsToEnd(ScriptedEngine):
    async def close(self) -> None:
        await super().close()
        raise RuntimeError("its thread is in nobody's hands")


async def test_an_engine_that_fails_to_end_is_let_go_all_the_same(served: Served) -> None:
    served.service.hub.models.add(Built(FailsToEnd(model_id="odd")), "scripted")
    async with client_of(served) as client:
        assert (await take_turn(served, "json", "hello", model="odd")).text == "hello"
        await client.delete("/v1/admin/models/odd")
        await until(client, "odd", "gone")
        assert 'model_name="odd"' not in (await client.get("/metrics")).text
        assert (await take_turn(served, "json", "the others serve on")).text == "the others serve on"
        await load(client, "odd", "scripted")
        await until(client, "odd", "ready")


async def test_a_reply_that_is_written_down_after_its_model_has_gone_leaves_no_label(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ScriptedEngine(model_id="brief")
    served.service.hub.models.add(Built(engine), "scripted")
    gone, put = asyncio.Event(), ResponseStore.put

    async def put_late(store: ResponseStore, record: StoredResponse) -> bool:
        await gone.wait()
        return await put(store, record)

    monkeypatch.setattr(ResponseStore, "put", put_late)
    async with client_of(served) as client:
        turn = asyncio.create_task(take_turn(served, "json", "hello", model="brief"))
        while not engine.stats().finished["stop"]:
            await asyncio.sleep(0)
        await client.delete("/v1/admin/models/brief")
        await until(client, "brief", "gone")
        gone.set()
        assert (await turn).text == "hello"
        text = (await client.get("/metrics")).text
        assert 'model_name="brief"' not in text
        assert "gen_ai_server_request_duration_seconds_count 1.0" in text, "it counts among all"


async def test_what_cannot_be_loaded_says_why_and_leaves_the_others_alone(
    served: Served, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    async with client_of(served) as client:
        await load(client, "broken", tmp_path / "broken")
        entry = await until(client, "broken", "failed")
        assert "neither .safetensors nor .gguf files" in entry["error"]
        assert refusal(await client.post("/v1/responses", json={"input": "hi", "model": "broken"}))[0] == 404
        assert (await client.delete("/v1/admin/models/broken")).json()["state"] == "failed"
        assert "broken" not in await states(client)
        assert (await take_turn(served, "json", "hello")).text == "hello"


async def test_a_folder_that_makes_a_library_fail_is_an_entry_that_failed(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> Built:
        raise RuntimeError("of a kind that nobody foresaw")

    monkeypatch.setattr(served.service.hub.models, "_build", fail)
    async with client_of(served) as client:
        await load(client, "odd", "scripted")
        entry = await until(client, "odd", "failed")
        assert entry["error"] == "RuntimeError: of a kind that nobody foresaw"


async def test_a_folder_whose_configuration_is_none_is_named(served: Served, tmp_path: Path) -> None:
    config = save_tiny_chat(tmp_path / "bad") / "config.json"
    config.write_text("[" * 100_000)
    async with client_of(served) as client:
        await load(client, "bad", config.parent)
        assert (await until(client, "bad", "failed"))["error"].startswith(f"{config}: not readable as JSON")


async def test_a_template_that_renders_without_end_holds_up_no_other_load(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_trial, "TRIAL_S", 0.2)
    save_tiny_chat(tmp_path / "endless", ENDLESS)
    settings = {"cache_dir": tmp_path, "dtype": "float32", "kv_memory_mib": 16}
    settings["model_dirs"] = f"{folder.parent},{tmp_path}"
    async with serving(**settings) as served, client_of(served) as client:
        await load(client, "endless", tmp_path / "endless")
        await load(client, "tiny", folder)
        error = (await until(client, "endless", "failed"))["error"]
        assert error.startswith(f"{tmp_path / 'endless' / 'chat_template.jinja'}: the chat template")
        await until(client, "tiny", "ready")


async def test_a_template_with_a_syntax_error_is_named_to_the_admin_and_at_the_start(tmp_path: Path) -> None:
    broken = save_tiny_chat(tmp_path / "broken", "{{ bos_token }}\n{% for x in %}")
    said = f"{broken / 'chat_template.jinja'}: line 2 of the chat template has a syntax error"
    settings = {"cache_dir": tmp_path, "dtype": "float32", "kv_memory_mib": 16, "model_dirs": tmp_path}
    async with serving(**settings) as served, client_of(served) as client:
        await load(client, "broken", broken)
        assert (await until(client, "broken", "failed"))["error"].startswith(said)
    with pytest.raises(ConfigError, match=re.escape(said)):
        async with serving(models=f"broken={broken}", **settings):
            pass
    with pytest.raises(ConfigError, match=re.escape(said)):
        build_default(config_for(tmp_path, engine="torch", model=broken, **settings))


async def test_a_budget_holds_for_all_models_together(folder: Path, tmp_path: Path) -> None:
    settings = {"cache_dir": tmp_path, "dtype": "float32", "kv_memory_mib": 16, "memory_bytes": 240 << 20}
    async with serving(models=f"first={folder}", **settings) as served, client_of(served) as client:
        await load(client, "second", folder)
        error = (await until(client, "second", "failed"))["error"]
        assert "the memory will not do for second" in error
        assert "planned already: first" in error
        assert "unload one of them" in error
        await client.delete("/v1/admin/models/first")
        await until(client, "first", "gone")
        await load(client, "second", folder)
        await until(client, "second", "ready")


@pytest.mark.parametrize("model_id", ["a:b", "-a", "a" * 129, "ä"])
async def test_an_id_that_cannot_be(served: Served, model_id: str) -> None:
    async with client_of(served) as client:
        assert refusal(await load(client, model_id, "scripted"))[:2] == (400, "invalid_value")


async def test_what_was_asked_wrong_is_named(served: Served) -> None:
    async with client_of(served) as client:
        assert refusal(await load(client, "other", "scripted"))[:2] == (400, "invalid_value")
        answer = await client.put("/v1/admin/models/third", json={})
        assert refusal(answer)[:2] == (400, "missing_required_parameter")
        assert "stays" in refusal(await client.delete("/v1/admin/models/scripted"))[2]
        assert refusal(await client.delete("/v1/admin/models/nobody"))[:2] == (404, "model_not_found")
        for number in range(14):
            await load(client, f"m{number}", "scripted")
        assert "the most" in refusal(await load(client, "m14", "scripted"))[2]


async def test_only_an_admin_sees_states_loads_and_unloads(served: Served) -> None:
    made = await served.service.auth.create_key("dev")
    headers = {"authorization": f"Bearer {made.value}"}
    async with client_of(served) as client:
        for method, path in (("GET", ""), ("PUT", "/x"), ("DELETE", "/other")):
            answer = await client.request(method, f"/v1/admin/models{path}", headers=headers)
            assert refusal(answer)[:2] == (403, "insufficient_scope")


@pytest.mark.parametrize("models", ["other", "=x", "a=", "a=x,a=y", "a b=x"])
async def test_a_setting_that_is_not_ids_and_sources_stops_the_start(models: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SLUICE_MODELS"):
        config_for(tmp_path, models=models)


@pytest.mark.parametrize(
    ("models", "fault"), [("scripted=scripted", "the default model's id"), ("a=/nowhere", "a=/nowhere: ")]
)
async def test_a_further_model_that_cannot_be_had_stops_the_start(models: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=f"SLUICE_MODELS: .*{fault}"):
        async with serving(models=models):
            pass
